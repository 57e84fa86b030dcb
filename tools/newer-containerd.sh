#!/bin/sh
# Unpacks containerd of later Debian suites, and Kubernetes' definition of the CRI protocol, into folders of this project:
#   build/runtimes/trixie (containerd 1.7, api.proto), build/runtimes/sid (containerd 2.x)
# The node tests run on them beside the system's own. Nothing is installed: the package lists, signed like the machine's
# own and taken from the same mirror, are private too, and no root is needed. Says in one line what could not be had.
set -eu
target=${1:-build/runtimes}

# fetch SUITE PACKAGE...
fetch() {
    suite=$1
    shift
    [ ! -e "$target/$suite/.complete" ] || return 0
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || { complain "$suite" "this is not Debian"; return 0; }
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$1 ~ /\/debian\/$/ && $3 == "main" {print $1; exit}')
    [ -n "$mirror" ] || { complain "$suite" "no Debian mirror among apt's sources"; return 0; }

    rm -rf "${target:?}/$suite"
    work=$target/$suite/.work
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    work=$(cd "$work" && pwd)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
    if ! { private_apt update && (cd "$work" && private_apt download "$@"); } >"$work/log" 2>&1; then
        complain "$suite" "$(tail -n 1 "$work/log")"
        rm -rf "${target:?}/$suite"
        return 0
    fi
    for package in "$work"/*.deb; do
        dpkg -x "$package" "$target/$suite"
    done
    rm -rf "$work"
    "$target/$suite/usr/bin/containerd" --version >/dev/null || complain "$suite" "its containerd does not run here"
    touch "$target/$suite/.complete"
}

private_apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=- \
        -o Dir::State::lists="$work/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" \
        -o APT::Update::Post-Invoke-Success::= -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

complain() {
    echo "containerd of Debian $1 cannot be had: $2. The tests on it will say so." >&2
}

fetch trixie containerd golang-github-kubernetes-cri-api-dev
fetch sid containerd

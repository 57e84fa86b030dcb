# For other scripts here: programs of later Debian suites, unpacked into folders of this project. Nothing is installed:
# the package lists, signed like the machine's own and taken from the same mirror, are private too, and no root is needed.
# Says in one line what could not be had.

# fetch FOLDER SUITE PACKAGE...: the first package is named as its program is
fetch() {
    folder=$1 suite=$2 program=$3
    shift 2
    [ ! -e "$folder/.complete" ] || return 0
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || { complain "this is not Debian"; return 0; }
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$1 ~ /\/debian\/$/ && $3 == "main" {print $1; exit}')
    [ -n "$mirror" ] || { complain "no Debian mirror among apt's sources"; return 0; }

    rm -rf "${folder:?}"
    work=$folder/.work
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    work=$(cd "$work" && pwd)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
    if ! { private_apt update && (cd "$work" && private_apt download "$@"); } >"$work/log" 2>&1; then
        complain "$(tail -n 1 "$work/log")"
        rm -rf "${folder:?}"
        return 0
    fi
    for package in "$work"/*.deb; do
        dpkg -x "$package" "$folder"
    done
    rm -rf "$work"
    use_its_own_libraries
    "$folder/usr/bin/$program" --version >/dev/null 2>&1 || "$folder/usr/bin/$program" version >/dev/null ||
        complain "it does not run here"
    touch "$folder/.complete"
}

private_apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=- \
        -o Dir::State::lists="$work/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" \
        -o APT::Update::Post-Invoke-Success::= -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

# Where a libc was unpacked, the system's is older than the program wants: what takes its place runs it with this one.
use_its_own_libraries() {
    usr=$(cd "$folder/usr" && pwd)
    loader=$(echo "$usr"/lib/*/ld-linux-*.so.*)
    [ -e "$loader" ] || return 0
    mv "$usr/bin/$program" "$usr/bin/$program.real"
    {
        echo '#!/bin/sh'
        echo "exec $loader --library-path ${loader%/*} $usr/bin/$program.real" '"$@"'
    } >"$usr/bin/$program"
    chmod 755 "$usr/bin/$program"
}

complain() {
    echo "$program of Debian $suite cannot be had: $1. The tests on it will say so." >&2
}

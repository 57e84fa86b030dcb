#!/bin/sh
# Installs what the demo, the tests and the benchmark need from Debian, when root asks for it and something is missing.
# Looks for the programs, not for the packages: another vendor's containerd will do, and is never replaced.
# Starts no service. Says in one line what it could not install; the parts that need it then say so themselves.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=

# want PROGRAM-OR-FILE PACKAGE...
want() {
    case $1 in
        /*) [ -e "$1" ] && return ;;
        *) command -v "$1" >/dev/null && return ;;
    esac
    shift
    missing="$missing $*"
}

# The demo
want git git                    # the embedded FloxHub serves real repositories, and the registry's tests clone them
want gcc gcc                    # compiles the launcher
want /usr/include/stdio.h libc6-dev  # the same: headers and the static library
want musl-gcc musl-tools        # the same with a smaller library, which starts sooner
want containerd containerd      # runs the pods
want runc runc                  # the runtime behind the launcher
want busybox busybox-static     # one static binary: what the demo's packages are made of, and the pods' sandbox

# The tests: programs that nobody here wrote
want crun crun                  # the other runtime behind the launcher
want podman podman              # pulls environment images, runs the launcher with --runtime
want skopeo skopeo              # inspects and copies them
want nix-store nix-bin          # makes and reads NARs and binary caches
want zsh zsh                    # completes the commands, as fish does
want fish fish
want /bin/bash-static bash-static  # the shell of test environments whose hooks run in containers without any
want afl-fuzz afl++             # leads a fuzzer through the launcher

# The benchmark's peers
want docker-registry docker-registry
want nginx nginx-light
want wrk wrk

# The virtual environment, where Python is Debian's
[ -e .venv/.ready ] || python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"

[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, and only root on Debian can:$missing. What needs them will say so." >&2
    exit 0
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >$policy  # "no service may be started": see invoke-rc.d(8)
    chmod 755 $policy
fi

log=$(mktemp)
echo "installing from Debian:$missing" >&2
# shellcheck disable=SC2086  # a list of names
if ! { apt-get -q -o DPkg::Lock::Timeout=120 update && DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o DPkg::Lock::Timeout=120 --no-install-recommends --no-remove install $missing; } >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    echo "could not install:$missing. What needs them will say so. All that apt said: $log" >&2
    exit 0
fi
rm -f "$log"

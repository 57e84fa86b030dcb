# Runs a command in its environment: `bash -p start.bash run|dev|exec COMMAND [ARGUMENT]...`
#
# `run` and `dev` are for the first process of a container: it activates the environment and becomes the command.
# `exec` is for a process that joins it: nothing is activated again, what the first one changed is taken over (FH §8.2).
# The variables that need no shell are set already. Only bash's own commands are used: a container may have no others.

_floxbridge_here=${0%/*}
_floxbridge_record=$_floxbridge_here/record # a tmpfs of the container; where there is none, nobody can write
_floxbridge_patience_s=10
_floxbridge_activation= # its process, while it runs
_floxbridge_stopped=    # what to exit with, once a signal asked for the end
declare -A _floxbridge_changed=() # by the hook: by name

_floxbridge_fail() {
    printf '%s\n' "floxbridge: environment ${FLOX_ENV_DESCRIPTION-}: $1" >&2
    exit 1
}

# The hook is asked to end, and what it runs with it; it may tidy up. A second signal does not wait for that.
_floxbridge_stop() {
    [[ $_floxbridge_activation && ! $_floxbridge_stopped ]] || exit "$((128 + $1))"
    _floxbridge_stopped=$((128 + $1))
    trap '' TERM # this process is in the group, too
    kill -TERM -- "-$$" 2>/dev/null || kill -TERM "$_floxbridge_activation" 2>/dev/null
    trap '_floxbridge_stop 15' TERM
}

# Any of them may be the image's stop signal, and the kernel keeps from process 1 what it does not handle. The numbers
# are HUP, INT, QUIT, USR1, USR2, TERM, PWR, the real-time ones, and WINCH unless a terminal may send it.
_floxbridge_handle_signals() {
    local number terminal=
    [[ ! -t 0 ]] || terminal=28
    for number in 1 2 3 10 12 15 28 30 {34..64}; do
        [[ $number == "$terminal" ]] || trap "_floxbridge_stop $number" "$number" 2>/dev/null
    done
}

# In the background, since bash heeds no signal while it waits for what is in the foreground. But with the caller's
# stdin, and not deaf to the keys of a terminal, which the background of a script is.
_floxbridge_activate() {
    local status bash
    mapfile -d '' -t -n 1 bash </proc/self/cmdline # BASH is /bin/sh where POSIXLY_CORRECT is inherited
    _floxbridge_handle_signals
    { trap - INT QUIT && exec "$bash" -p "$_floxbridge_here/activation.bash" "$1" "$bash"; } <&0 &
    _floxbridge_activation=$!
    wait "$_floxbridge_activation"
    status=$?
    [[ ! $_floxbridge_stopped ]] || {
        wait "$_floxbridge_activation" 2>/dev/null
        exit "$_floxbridge_stopped"
    }
    _floxbridge_activation=
    ((status == 0)) || _floxbridge_fail "Running hook.on-activate failed (exit status $status)"
    [[ -e $_floxbridge_record/done ]] ||
        _floxbridge_fail "hook.on-activate did not complete normally: it must not call exit or exec"
}

# A pipe that nobody writes to is all that bash has to sleep with. It has to be opened by a process, which the command
# must not inherit.
_floxbridge_wait_for_activation() {
    local never until=$((SECONDS + _floxbridge_patience_s))
    { exec {never}<> <(:); } 2>/dev/null || return 0
    wait "$!"
    until [[ -e $_floxbridge_record/done ]] || ((SECONDS >= until)); do
        read -r -t 0.05 -u "$never" _
    done
    exec {never}>&-
    [[ -e $_floxbridge_record/done ]] ||
        printf '%s\n' "floxbridge: the container is still being activated; going on without what its hook sets" >&2
}

# `NAME=VALUE` was set, `NAME` was unset. A local variable here would be the one that is exported, had it such a name.
_floxbridge_replay() {
    local _floxbridge_change _floxbridge_changes
    mapfile -d '' -t _floxbridge_changes <"$_floxbridge_record/changes"
    for _floxbridge_change in "${_floxbridge_changes[@]}"; do
        _floxbridge_changed[${_floxbridge_change%%=*}]=1
        case $_floxbridge_change in
            *=*) export "$_floxbridge_change" ;;
            *) unset -v "$_floxbridge_change" ;;
        esac
    done
}

# What bash itself does to the environment. Some variables are its own, whatever was inherited by their names, until they
# are unset; BASHOPTS and the like are for ever. An array is exported by no shell, and this one cannot be kept from
# setting SHLVL once more when it becomes the command.
_floxbridge_leave_no_trace() {
    local _floxbridge_given _floxbridge_entry _floxbridge_had_level=
    mapfile -d '' -t _floxbridge_given </proc/self/environ
    unset -v PWD OLDPWD
    for _floxbridge_entry in "${_floxbridge_given[@]}"; do
        case $_floxbridge_entry in
            PWD=* | OLDPWD=*) export "$_floxbridge_entry" ;;
            SHLVL=*) _floxbridge_had_level=1 ;;
            BASHOPTS=* | SHELLOPTS=*) export -n "${_floxbridge_entry%%=*}" ;;
            BASH_VERSINFO=* | PPID=* | EUID=* | UID=*) ;;
            BASH*=* | COLUMNS=* | COMP_*=* | DIRSTACK=* | EPOCH*=* | FUNCNAME=* | GROUPS=* | HISTCMD=* | IFS=* | \
                LINENO=* | LINES=* | OPTERR=* | OPTIND=* | PIPESTATUS=* | PS[124]=* | RANDOM=* | SECONDS=* | SRANDOM=*)
                _floxbridge_hand_on "${_floxbridge_entry%%=*}" "${_floxbridge_entry#*=}"
                ;;
        esac
    done
    [[ $_floxbridge_had_level ]] || {
        unset -v SHLVL
        declare -g -a SHLVL=()
    }
}

_floxbridge_hand_on() { # name, value: as they were given, unless the hook had other plans
    [[ $1 != *[!A-Za-z0-9_]* && ! ${_floxbridge_changed[$1]-} && ${!1-} != "$2" ]] || return 0
    unset -v "$1"
    export "$1=$2"
}

_floxbridge_role=$1
shift
case $_floxbridge_role in
    run | dev) _floxbridge_activate "$_floxbridge_role" ;;
    exec) [[ -e $_floxbridge_record/done || ! -w $_floxbridge_record ]] || _floxbridge_wait_for_activation ;;
    *) _floxbridge_fail "start.bash: want run, dev or exec, got '$_floxbridge_role'" ;;
esac
[[ ! -r $_floxbridge_record/changes || ! -e $_floxbridge_record/done ]] || _floxbridge_replay
_floxbridge_leave_no_trace

if [[ $1 != */* ]] && ! type -P -- "$1" >/dev/null; then
    printf '%s\n' "$1: command not found" >&2
    exit 1
fi
shopt -s execfail
exec -- "$@"
exit 1

# Runs a command in its environment: `bash -p start.bash run|dev|exec COMMAND [ARGUMENT]...`
#
# `run` and `dev` are for the first process of a container: it activates the environment and becomes the command.
# `exec` is for a process that joins it: nothing is activated again, what the first one changed is taken over (FH §8.2).
# The variables that need no shell are set already. Only bash's own commands are used: a container may have no others.

_floxbridge_here=${BASH_SOURCE[0]%/*}
_floxbridge_record=/run/floxbridge-activation
_floxbridge_patience_s=10

_floxbridge_fail() {
    printf '%s\n' "floxbridge: environment ${FLOX_ENV_DESCRIPTION-}: $1" >&2
    exit 1
}

_floxbridge_activate() {
    trap 'exit 143' TERM # else the kernel keeps it from process 1, and a long hook could not be ended
    "$BASH" -p "$_floxbridge_here/activation.bash" "$1"
    local status=$?
    trap - TERM
    ((status == 0)) || _floxbridge_fail "Running hook.on-activate failed (exit status $status)"
    [[ -e $_floxbridge_record/done ]] ||
        _floxbridge_fail "hook.on-activate did not complete normally: it must not call exit or exec"
}

# A pipe that nobody writes to is all that bash has to sleep with.
_floxbridge_wait_for_activation() {
    local never until=$((SECONDS + _floxbridge_patience_s))
    { exec {never}<> <(:); } 2>/dev/null || return 0
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
        case $_floxbridge_change in
            *=*) export "$_floxbridge_change" ;;
            *) unset -v "$_floxbridge_change" ;;
        esac
    done
}

# What bash itself puts into the environment. An array is exported by no shell, and this one cannot be kept from
# setting SHLVL once more when it becomes the command.
_floxbridge_leave_no_trace() {
    local _floxbridge_given _floxbridge_entry _floxbridge_had_level=
    mapfile -d '' -t _floxbridge_given </proc/self/environ
    unset -v PWD OLDPWD
    for _floxbridge_entry in "${_floxbridge_given[@]}"; do
        case $_floxbridge_entry in
            PWD=* | OLDPWD=*) export "$_floxbridge_entry" ;;
            SHLVL=*) _floxbridge_had_level=1 ;;
        esac
    done
    [[ $_floxbridge_had_level ]] || {
        unset -v SHLVL
        declare -g -a SHLVL=()
    }
}

_floxbridge_role=$1
shift
case $_floxbridge_role in
    run | dev) _floxbridge_activate "$_floxbridge_role" ;;
    exec) [[ ! -x $_floxbridge_record ]] || _floxbridge_wait_for_activation ;;
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

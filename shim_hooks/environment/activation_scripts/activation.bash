# Activates the environment that this file lies in, in a process of its own: `bash -p activation.bash run|dev BASH`
#
# In Flox's order, with Flox's rules about errors (FH §8.2). Whatever the hook does here, only what it exports and
# unsets reaches the command, through record.bash, and only if the hook comes to its end.

set -euo pipefail
readonly _floxbridge_here=${0%/*} _floxbridge_mode=$1 _floxbridge_bash=$2
readonly _floxbridge_env=${_floxbridge_here%/activate.d/floxbridge}
shift 2

_floxbridge_find_profile_scripts() {
    local LC_ALL=C # the order of the glob
    _floxbridge_profile_scripts=("$_floxbridge_env"/etc/profile.d/*.sh)
}

source "$_floxbridge_env/activate.d/envrc"

if [[ $_floxbridge_mode == dev ]]; then
    _floxbridge_find_profile_scripts
    for _floxbridge_script in "${_floxbridge_profile_scripts[@]}"; do
        [[ ! -r $_floxbridge_script ]] || source "$_floxbridge_script"
    done
fi
unset -f _floxbridge_find_profile_scripts

if [[ -e $_floxbridge_env/activate.d/hook-on-activate ]]; then
    set +eu +o pipefail
    source "$_floxbridge_env/activate.d/hook-on-activate" >&2
fi

"$_floxbridge_bash" -p "$_floxbridge_here/record.bash" || exit 1

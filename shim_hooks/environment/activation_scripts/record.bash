# Writes down what an activation changed of its exported variables: `bash -p record.bash`, run by activation.bash
#
# Being a process of its own, it has been given what is exported, and nothing else that the hook may have done. What
# Flox never records is left out (FH §8.2), SHLVL too, which counts shells, and what bash itself writes where the
# container inherits such a name. start.bash reads what is written here.

LC_ALL=C
umask 077
record=${0%/*}/record
unset -v before changes given found # whatever was exported by these names
declare -A before=()
changes=()

is_recorded() {
    case $1 in
        _ | PWD | OLDPWD | SHLVL | SHELLOPTS | BASHOPTS | BASH_ENVTRACE_*) return 1 ;;
        BASH | EPOCHREALTIME | EPOCHSECONDS | LINENO | SECONDS) return 1 ;;
    esac
    [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] # not so the names that exported functions have
}

mapfile -d '' -t given <"/proc/$PPID/environ" || exit 1
mapfile -d '' -t found </proc/self/environ || exit 1
for entry in "${given[@]}"; do
    name=${entry%%=*}
    ! is_recorded "$name" || before[$name]=$entry
done
for entry in "${found[@]}"; do
    name=${entry%%=*}
    is_recorded "$name" || continue
    [[ ${before[$name]-} == "$entry" ]] || changes+=("$entry")
    unset -v "before[$name]"
done
changes+=("${!before[@]}")

{ ((${#changes[@]} == 0)) || printf '%s\0' "${changes[@]}"; } >"$record/changes" && : >"$record/done"

"""`activate.d` of a linked environment: the scripts of its manifest as files, and those that run them (FH §6.3, §8.2).

Belongs here: which files, and what is in them. Does not: writing them (`environment_directory.py`), running them
(`activation.py`). What comes from a lockfile is only ever written down: bash reads it, and in the container.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files

from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import Lockfile
from flox_formats.vars_order import VarsInvalid, ordered_vars
from shim_hooks.errors import Refused

FOLDER = "activate.d"
START = f"{FOLDER}/floxbridge/start.bash"
RECORD = f"{FOLDER}/floxbridge/record"
"""Where the container mounts what its activation writes: here no volume of a pod, and no image, can be in the way."""

_OWN = ("activation.bash", "record.bash", "record/README", "start.bash")


def activation_files(environment: EnvironmentName, lockfile: Lockfile) -> dict[str, bytes]:
    """By path below the environment. Raises Refused for `[vars]` that no shell can export."""
    texts = {"envrc": _envrc(environment, lockfile), **dict(_scripts(lockfile))}
    return {
        **{f"{FOLDER}/{name}": text.encode() for name, text in texts.items()},
        **{f"{FOLDER}/floxbridge/{name}": data for name, data in own_scripts().items()},
    }


def own_scripts() -> Mapping[str, bytes]:
    """Those that are the same in every environment, and what lies beside them."""
    folder = files("shim_hooks.environment").joinpath("activation_scripts")
    return {name: folder.joinpath(name).read_bytes() for name in _OWN}


def outdented(script: str) -> str:
    """Without the leading spaces that all lines have. Tabs do not count, and empty lines are not asked."""
    lines = script.split("\n")
    common = min((len(line) - len(line.lstrip(" ")) for line in lines if line), default=0)
    return "\n".join(line[common:] for line in lines)


def _envrc(environment: EnvironmentName, lockfile: Lockfile) -> str:
    """Unescaped, as Flox does it: that is what makes bash expand the values."""
    try:
        ordered = ordered_vars(lockfile.manifest.vars)
    except VarsInvalid as problem:
        raise Refused(f"environment {environment}: {problem}") from problem
    return "".join(f'export {name}="{value}"\n' for name, value in ordered)


def _scripts(lockfile: Lockfile) -> Iterator[tuple[str, str]]:
    manifest = lockfile.manifest
    for name, script in (
        ("hook-on-activate", manifest.hook_on_activate),
        ("hook-on-deactivate", manifest.hook_on_deactivate),
    ):
        if script is not None:
            yield name, outdented(script)
    for shell, script in manifest.profile.items():
        yield f"profile-{shell}", outdented(script)
    for shell, script in manifest.profile_deactivate.items():
        yield f"deactivate-profile-{shell}", outdented(script)

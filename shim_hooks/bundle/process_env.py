"""A process's environment as runtimes keep it: a list of `NAME=value`, in order, where a name may stand twice.

Belongs here: reading such a list, and making the one that a program in an environment gets.
"""

from collections.abc import Iterable, Mapping

from shim_hooks.bundle.pinned import VARIABLES


def variables(env: Iterable[str]) -> dict[str, str]:
    """By name; of a name that stands twice the last one counts, as in runc's own look-ups."""
    pairs = (entry.partition("=") for entry in env)
    return {name: value for name, equals, value in pairs if equals}


def without_ours(env: Iterable[str]) -> list[str]:
    """What told the node which environment the image stands for is none of the program's business."""
    return [entry for entry in env if _name(entry) not in VARIABLES]


def replaced(env: Iterable[str], *, new: Mapping[str, str], removed: frozenset[str]) -> list[str]:
    """What was inherited is kept, unless it is set anew: a variable that stood twice would have two values."""
    kept = [entry for entry in env if _name(entry) not in removed and _name(entry) not in new]
    return [*kept, *(f"{name}={value}" for name, value in new.items())]


def _name(entry: str) -> str:
    return entry.partition("=")[0]

"""The order in which `[vars]` are exported, and which of them need no shell.

Belongs here: which variable refers to which. Does not: expanding anything; that is bash's, and its rules are many.
Source: FH §6.3. A reference is seen only where it is certain: one too many could make a circle out of a good manifest.
"""

import heapq
import re
from collections.abc import Mapping

from flox_formats.errors import FormatError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPE_OR_REFERENCE = re.compile(r"\\.|\$(\{?)([A-Za-z_][A-Za-z0-9_]*)?", re.DOTALL)
_NEEDS_A_SHELL = frozenset('$`\\"')
_RESERVED = "BASH_ENVTRACE_"  # Flox's own bash is steered by these


class VarsInvalid(FormatError):
    """`[vars]` that no shell can export: a circle of references, or a name or value that cannot be one."""


def ordered_vars(variables: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Names and values, alphabetical, except that a variable comes after those that its value refers to.

    Raises VarsInvalid naming the circle or the variable.
    """
    for name, value in variables.items():
        _check(name, value)
    waits_for = {name: _references(name, value) & variables.keys() for name, value in variables.items()}
    waited_for_by: dict[str, list[str]] = {name: [] for name in variables}
    for name, needed in waits_for.items():
        for other in needed:
            waited_for_by[other].append(name)
    missing = {name: len(needed) for name, needed in waits_for.items()}
    ready = [name for name, count in missing.items() if not count]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        for other in waited_for_by[name]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, other)
    if len(order) < len(variables):
        raise VarsInvalid(f"vars: {_circle(waits_for, set(order))} refer to each other; break the circle in [vars]")
    return tuple((name, variables[name]) for name in order)


def is_plain_value(value: str) -> bool:
    """Whether bash, between double quotes, would leave every character of it as it is."""
    return _NEEDS_A_SHELL.isdisjoint(value)


def _check(name: str, value: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise VarsInvalid(f"vars: {name[:100]!r} is no variable name: want letters, digits and '_', no digit first")
    if name.startswith(_RESERVED):
        raise VarsInvalid(f"vars: {name[:100]!r} is reserved: no variable may begin with {_RESERVED}")
    if "\0" in value:
        raise VarsInvalid(f"vars: {name[:100]!r} holds a NUL character, which no environment variable can")


def _references(own_name: str, value: str) -> set[str]:
    """Names that `value` expands. Its own name does not count: it means what the variable was before."""
    last_brace = value.rfind("}")
    names = set()
    for match in _ESCAPE_OR_REFERENCE.finditer(value):
        brace, name = match.groups()
        if name is not None and (not brace or match.end() <= last_brace):
            names.add(name)
    return names - {own_name}


def _circle(waits_for: Mapping[str, set[str]], done: set[str]) -> str:
    """One circle among the variables that could not be put in order, as `a → b → a`."""
    name = min(waits_for.keys() - done)
    places: dict[str, int] = {}
    while name not in places:
        places[name] = len(places)
        name = min(waits_for[name] - done)
    return " → ".join([*list(places)[places[name] :], name])[:1000]

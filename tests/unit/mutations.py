"""Near misses: a JSON document that is right, with one or a few places made wrong.

Random bytes seldom get past the first check of a parser; these get to every one of them.
"""

import copy
from collections.abc import Sequence

from hypothesis import strategies as st

_NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
_TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "1", "0", "all", "out", "/nix/store", "x86_64-linux", "$A", "${A}"]
)
_LEAVES = st.none() | st.booleans() | _NUMBERS | _TEXTS
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3))


@st.composite
def mutated(draw: st.DrawFn, documents: Sequence[object]) -> object:
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, 3))):
        _spoil_one_place(draw, document)
    return document


def _spoil_one_place(draw: st.DrawFn, value: object) -> None:
    """Walks down to some member, and removes it, replaces it or copies it elsewhere."""
    while isinstance(value, dict | list) and value:
        keys: list[str | int] = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        inner = value[key]  # type: ignore[index]
        if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
            value = inner
            continue
        match draw(st.sampled_from(["remove", "replace", "copy"])):
            case "remove":
                del value[key]  # type: ignore[arg-type]
            case "replace":
                value[key] = draw(_VALUES)  # type: ignore[index]
            case _:
                value[key] = copy.deepcopy(value[draw(st.sampled_from(keys))])  # type: ignore[index]
        return

"""What goes first, and what never goes: tables of small stores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.system import System
from shim_hooks.store.closures import RecordKey
from shim_hooks.store.garbage import Entry, Inventory, UsedClosure, victims


def key(name: str) -> RecordKey:
    return RecordKey(Digest.of(name.encode()), System.X86_64_LINUX)


def closure(name: str, last_used: float, paths: str, environments: str = "") -> UsedClosure:
    """Each letter is a path; an environment is an upper-case one."""
    return UsedClosure(key(name), last_used, frozenset(paths), frozenset(environments))


def store(entries: str, *closures: UsedClosure, since: float = 0.0) -> Inventory:
    return Inventory({name: Entry(10, since) for name in entries}, closures)


def order(inventory: Inventory, kept: str = "") -> list[tuple[str, str]]:
    names = {key(name): name for name in ("old", "new", "newest")}
    return [
        ("stray" if victim.closure is None else names[victim.closure], "".join(victim.entries))
        for victim in victims(inventory, frozenset(kept))
    ]


def test_what_lies_in_several_folders_goes_from_each_that_nobody_needs() -> None:
    """Two environments with paths of their own, which have `a` twice; a container uses `c`, wherever it lies."""
    old = UsedClosure(key("old"), 1, frozenset("ac"), frozenset("A"), ("store/", "private/1/"))
    new = UsedClosure(key("new"), 2, frozenset("ab"), frozenset("B"), ("store/", "private/2/"))
    places = ["store/a", "private/1/a", "private/1/A", "private/1/c", "private/2/a", "private/2/b", "private/2/B"]
    inventory = Inventory({place: Entry(10, 0) for place in [*places, "private/3/b"]}, (old, new))
    assert [victim.entries for victim in victims(inventory, {"c"})] == [
        ("private/3/b",),
        ("private/1/A", "private/1/a"),
        ("private/2/B", "private/2/a", "private/2/b", "store/a"),
    ]
    assert inventory.size_of({"a", "c"}) == 40


OLD, NEW = closure("old", 1, "abc", "A"), closure("new", 2, "bcd", "D")


@pytest.mark.parametrize(
    ("inventory", "kept", "expected"),
    [
        pytest.param(store(""), "", [], id="nothing"),
        pytest.param(store("aA", closure("old", 1, "a", "A")), "", [("old", "Aa")], id="one-with-its-environment"),
        pytest.param(store("abcdAD", OLD, NEW), "", [("old", "Aa"), ("new", "Dbcd")], id="shared-paths-go-last"),
        pytest.param(store("abcdAD", NEW, OLD), "", [("old", "Aa"), ("new", "Dbcd")], id="order-is-of-use"),
        pytest.param(store("abcdAD", OLD, NEW), "abcA", [("new", "Dd")], id="in-use-though-old"),
        pytest.param(store("abcdAD", OLD, NEW), "abcdAD", [], id="all-in-use"),
        pytest.param(store("abcdAD", OLD, NEW), "a", [("old", "A"), ("new", "Dbcd")], id="a-path-is-kept"),
        pytest.param(store("x"), "", [("stray", "x")], id="stray"),
        pytest.param(store("x"), "x", [], id="stray-that-is-pinned"),
        pytest.param(store("xaA", closure("old", 1, "a", "A")), "", [("stray", "x"), ("old", "Aa")], id="older-stray"),
        pytest.param(
            store("xaA", closure("old", 1, "a", "A"), since=5), "", [("old", "Aa"), ("stray", "x")], id="newer-stray"
        ),
        pytest.param(store("aA", OLD), "", [("old", "Aa")], id="half-of-a-closure"),
        pytest.param(store("A", closure("old", 1, "", "A")), "A", [], id="empty-environment-in-use"),
        pytest.param(store("A", closure("old", 1, "", "A")), "", [("old", "A")], id="empty-environment"),
        pytest.param(store("", OLD), "", [("old", "")], id="record-of-nothing"),
        pytest.param(
            store("aAB", closure("old", 1, "a", "AB")), "aA", [], id="in-use-by-one-of-two-environments-stays-whole"
        ),
    ],
)
def test_order(inventory: Inventory, kept: str, expected: list[tuple[str, str]]) -> None:
    assert order(inventory, kept) == expected


LETTERS = st.text("abcdef", max_size=6)


@given(
    st.lists(st.tuples(st.sampled_from(["old", "new", "newest"]), st.integers(0, 3), LETTERS), max_size=3),
    LETTERS,
    LETTERS,
)
def test_at_any_point_what_is_kept_and_what_later_closures_need_is_there(
    closures: list[tuple[str, int, str]], entries: str, kept: str
) -> None:
    inventory = store(entries, *(closure(name, last, paths) for name, last, paths in dict.fromkeys(closures)))
    left, records = set(inventory.entries), {each.key: each.members for each in inventory.closures}
    for victim in victims(inventory, frozenset(kept)):
        if victim.closure is not None:
            records.pop(victim.closure, None)
        assert victim.size == 10 * len(victim.entries)
        left -= set(victim.entries)
        still_needed = set(kept).union(*records.values()) & set(inventory.entries)
        assert still_needed <= left
    assert left <= set(kept).union(*records.values())

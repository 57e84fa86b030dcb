"""What stays in memory: what was used last, up to a bound, however large what somebody pushed is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flox_formats.closure import ClosureDocument
from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import LockedActivation, Lockfile
from flox_formats.store_path import StorePath
from flox_formats.system import System
from shim_hooks.environment.at_hand import AtHand
from shim_hooks.environment.contents import EnvironmentContents
from shim_hooks.environment.realised import Realised
from shim_hooks.store.closures import ClosureRecord, ClosureRecords, RecordKey
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.remembered import Remembered
from shim_hooks.store.store_folders import StoreFolders

SYSTEM = System.X86_64_LINUX


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        pytest.param([("a", 4), ("b", 3), ("c", 3)], "abc", id="all-of-it"),
        pytest.param([("a", 4), ("b", 3), ("c", 4)], "bc", id="the-oldest-goes"),
        pytest.param([("a", 4), ("b", 3), ("a", 4), ("c", 4)], "ac", id="kept-again-is-used"),
        pytest.param([("a", 4), ("b", 4), ("c", 10)], "c", id="a-large-one-in-place-of-all"),
        pytest.param([("a", 4), ("b", 4), ("c", 11)], "ab", id="one-that-is-too-large-in-place-of-none"),
        pytest.param([("a", 4), ("a", 11)], "", id="grown-too-large"),
        pytest.param([("a", 9), ("a", 1), ("b", 9)], "ab", id="shrunk"),
    ],
)
def test_what_stays(kept: list[tuple[str, int]], left: str) -> None:
    remembered = Remembered[str, str](10)
    for name, size in kept:
        remembered.keep(name, name.upper(), size)
    assert "".join(name for name in "abc" if remembered.find(name) == name.upper()) == left


def test_what_was_looked_for_stays_longest() -> None:
    remembered = Remembered[str, int](2)
    remembered.keep("a", 1, 1)
    remembered.keep("b", 2, 1)
    assert remembered.find("a") == 1
    remembered.keep("c", 3, 1)
    assert [remembered.find(name) for name in "abc"] == [1, None, 3]


def test_what_is_dropped_makes_room() -> None:
    remembered = Remembered[str, int](1)
    remembered.keep("a", 1, 1)
    remembered.drop("a")
    remembered.drop("a")
    assert remembered.find("a") is None
    remembered.keep("b", 2, 1)
    assert remembered.find("b") == 2


def record(name: str, *, filling: int = 0) -> ClosureRecord:
    """`filling` is of the lockfile's bytes, and costs no time to parse."""
    manifest = {"version": 1, "profile": {"common": name + "x" * filling}}
    data = json.dumps({"lockfile-version": 1, "manifest": manifest, "packages": []}).encode()
    return ClosureRecord(Lockfile.parse(data), ClosureDocument(SYSTEM, (), ()))


def test_a_huge_lockfile_is_read_anew_each_time(tmp_path: Path) -> None:
    """It is for its owner to wait, not for the node's other pods to have no memory."""
    records = ClosureRecords(tmp_path)
    small, huge = record("small"), record("huge", filling=15_000_000)
    for each in (small, huge):
        records.keep(each)
        assert records.find(each.lockfile.digest, SYSTEM) == each
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    assert records.find(small.lockfile.digest, SYSTEM) is small
    assert records.find(huge.lockfile.digest, SYSTEM) is None


def realised(name: str) -> Realised:
    return Realised(
        environment=EnvironmentName.parse(f"acme/{name}"),
        generation=1,
        lockfile=LockedActivation(Digest.of(name.encode()), {}, has_hook=False),
        env_path=StorePath("0" * 32, name),
        folders=StoreFolders((Path("/store"),)),
        fetched_bytes=0,
        paths=(StorePath("0" * 32, name),),
        contents=EnvironmentContents(),
        development=None,
    )


HUGE = realised("huge")


@pytest.mark.parametrize(
    "huge",
    [
        pytest.param(replace(HUGE, paths=HUGE.paths * 100_000), id="paths"),
        pytest.param(replace(HUGE, lockfile=replace(HUGE.lockfile, vars={"A": "x" * 17_000_000})), id="a-variable"),
        pytest.param(
            replace(HUGE, lockfile=replace(HUGE.lockfile, vars={str(n): "" for n in range(90_000)})), id="variables"
        ),
    ],
)
def test_a_huge_environment_is_not_at_hand(tmp_path: Path, huge: Realised) -> None:
    store = NodeStore(tmp_path)
    at_hand, small = AtHand(store), realised("small")
    for each in (small, huge):
        at_hand.remember(each.environment, each, RecordKey(each.lockfile.digest, SYSTEM))
    assert at_hand.find(small.environment) is small
    assert at_hand.find(huge.environment) is None
    store.close()


def test_many_ordinary_environments_are_at_hand(tmp_path: Path) -> None:
    """More than a node has pods, with 500 store paths each."""
    store = NodeStore(tmp_path)
    at_hand = AtHand(store)
    many = [replace(each, paths=each.paths * 500) for each in (realised(f"web-{number}") for number in range(110))]
    for each in many:
        at_hand.remember(each.environment, each, RecordKey(each.lockfile.digest, SYSTEM))
    assert all(at_hand.find(each.environment) is each for each in many)
    store.close()

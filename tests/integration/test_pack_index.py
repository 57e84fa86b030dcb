"""Packs as git makes them are indexed as git indexes them; others are refused, whatever is wrong with them."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.floxhub.pack_bounds import PackRefused, check_pack
from registry_proxy.floxhub.pack_index import index_pack
from tests.conftest import needs
from tests.integration import hostile_hub
from tests.integration.hub_rig import git

KIBIBYTE = 1024


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a hundred versions of a lockfile, and the trees and commits around them."""
    needs("git")
    folder = tmp_path_factory.mktemp("history")
    git("init", "-q", cwd=folder)
    lines = [f"package {number}: {random.Random(number).randbytes(20).hex()}" for number in range(500)]
    for version in range(100):
        lines[version * 7 % 500] = f"changed {version}"
        (folder / f"{version}.lock").write_text("\n".join(lines))
    git("add", ".", cwd=folder)
    git("commit", "-q", "-m", "all", cwd=folder)
    return folder


@pytest.fixture(scope="module", params=["", "--delta-base-offset"], ids=["deltas-by-name", "deltas-by-place"])
def made_by_git(request: pytest.FixtureRequest, history: Path) -> Path:
    """A pack beside its index."""
    (name,) = git(
        *filter(None, ["pack-objects", "--revs", "--all", "--depth=50", request.param, "made"]), cwd=history
    ).split()
    return history / f"made-{name}.pack"


def indexed(folder: Path, pack: bytes, *, max_held_bytes: int = 8 * KIBIBYTE * KIBIBYTE) -> bytes:
    (folder / "incoming").write_bytes(pack)
    index_pack(folder / "incoming", folder, max_held_bytes=max_held_bytes)
    (index,) = (folder / "pack").glob("*.idx")
    assert index.with_suffix(".pack").read_bytes() == pack
    return index.read_bytes()


def test_as_git_does(made_by_git: Path, tmp_path: Path) -> None:
    assert indexed(tmp_path, made_by_git.read_bytes()) == made_by_git.with_suffix(".idx").read_bytes()


def pack_of(*objects: bytes) -> bytes:
    return b"".join(hostile_hub.pack(*objects))


def zeros(size: int) -> bytes:
    return hostile_hub.blob(bytes(size))


def long_chain(size: int, length: int) -> Iterator[bytes]:
    """Each made of the one before: only one has to be held."""
    last = zeros(size)
    yield last
    for _ in range(length):
        last = hostile_hub.delta(size, size, back=len(last), copies=size // (64 * KIBIBYTE))
        yield last


def bush(size: int, height: int) -> Iterator[bytes]:
    """Of each, one that is made of nothing more, and the next."""
    copies = size // (64 * KIBIBYTE)
    last = zeros(size)
    yield last
    for _ in range(height):
        leaf = hostile_hub.delta(size, size, back=len(last), copies=copies)
        last = hostile_hub.delta(size, size, back=len(last) + len(leaf), copies=copies)
        yield from (leaf, last)


def wordy_chain(size: int, length: int) -> Iterator[bytes]:
    """Each is made of nothing of the one before, in as many words as it has bytes."""
    last = zeros(size)
    yield last
    for _ in range(length):
        last = hostile_hub.delta(size, size, back=len(last), inserted=size)
        yield last


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([*long_chain(64 * KIBIBYTE, 1000)], id="long-chain"),
        pytest.param([*bush(64 * KIBIBYTE, 3)], id="low-bush"),
        pytest.param([*wordy_chain(64 * KIBIBYTE, 3)], id="wordy-chain"),
    ],
)
def test_what_needs_little_memory_is_indexed(tmp_path: Path, objects: list[bytes]) -> None:
    assert indexed(tmp_path, pack_of(*objects), max_held_bytes=256 * KIBIBYTE)


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([*bush(64 * KIBIBYTE, 20)], id="high-bush"),
        pytest.param([*wordy_chain(64 * KIBIBYTE, 20)], id="long-wordy-chain"),
        pytest.param([*long_chain(1024 * KIBIBYTE, 3)], id="large-objects"),
    ],
)
def test_what_needs_more_is_refused(tmp_path: Path, objects: list[bytes]) -> None:
    with pytest.raises(PackRefused, match="without 262144 bytes of memory"):
        indexed(tmp_path, pack_of(*objects), max_held_bytes=256 * KIBIBYTE)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pack_of(zeros(9))[:-1] + b"?", id="wrong-checksum"),
        pytest.param(pack_of(zeros(9), hostile_hub.delta(9, 9, back=99999)), id="delta-of-nothing"),
        pytest.param(pack_of(zeros(9), hostile_hub.delta(9, 9, back=0)), id="delta-of-itself"),
        pytest.param(pack_of(zeros(9), hostile_hub.delta(8, 9, back=len(zeros(9)), inserted=9)), id="wrong-base"),
        pytest.param(pack_of(zeros(9), hostile_hub.delta(9, 8, back=len(zeros(9)), inserted=9)), id="wrong-size"),
        pytest.param(pack_of(zeros(9), hostile_hub.delta_by_name(b"\1" * 20, 9)), id="delta-of-what-is-elsewhere"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(PackRefused):
        indexed(tmp_path, data)


@given(data=st.data())
def test_any_change_to_a_pack_is_refused_or_harmless(made_by_git: Path, data: st.DataObject) -> None:
    pack = bytearray(made_by_git.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        pack[data.draw(st.integers(0, len(pack) - 1))] = data.draw(st.integers(0, 255))
    sound = hostile_hub.with_checksum(bytes(pack))
    with tempfile.TemporaryDirectory() as folder, suppress(PackRefused):
        (Path(folder) / "incoming").write_bytes(sound)
        with (Path(folder) / "incoming").open("rb") as file:
            check_pack(file, max_objects=1000, max_object_bytes=2**20, max_total_bytes=2**24)
        index_pack(Path(folder) / "incoming", Path(folder), max_held_bytes=2**24)

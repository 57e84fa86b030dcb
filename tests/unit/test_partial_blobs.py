"""What is left of downloads: what of it goes, and that it is never two fetches' at once."""

import os
import shutil
import time
from pathlib import Path

import pytest

from flox_formats.digest import Digest
from shim_hooks.store.blob_file import BlobFile
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.partial_blobs import PartialBlobs

DATA = b"0123456789"
DIGEST = Digest.of(DATA)
A_DAY_S = 86400


@pytest.fixture
def partial(tmp_path: Path) -> PartialBlobs:
    return PartialBlobs(tmp_path / "partial")


def opened(partial: PartialBlobs, place: Path) -> BlobFile:
    blob = partial.blob(DIGEST, len(DATA), otherwise=place / "blob")
    blob.open()
    return blob


def leave(folder: Path, name: str, *, age_s: float, share: float) -> None:
    """`share` is how large it is, of what is free on the disk."""
    path = folder / Digest.of(name.encode()).hex
    path.touch()
    os.truncate(path, int(shutil.disk_usage(folder).free * share))  # a hole: it takes no room
    then = time.time() - age_s
    os.utime(path, (then, then))


@pytest.mark.parametrize(
    ("left", "stays"),
    [
        pytest.param({"new": (0, 0.2), "older": (A_DAY_S, 0.2)}, {"new", "older"}, id="all-of-it"),
        pytest.param({"new": (0, 0.2), "old": (2 * A_DAY_S, 0.2)}, {"new"}, id="too-old"),
        pytest.param({"new": (0, 0.6), "older": (9, 0.3)}, {"older"}, id="too-large"),
        pytest.param({"new": (0, 0.3), "older": (9, 0.3)}, {"new"}, id="too-much-together"),
    ],
)
def test_what_goes(tmp_path: Path, left: dict[str, tuple[float, float]], stays: set[str]) -> None:
    """An hour and a day old may be what is left; half of the free disk it may take."""
    store = NodeStore(tmp_path)
    for name, (age_s, share) in left.items():
        leave(tmp_path / "partial", name, age_s=age_s, share=share)
    store.sweep(temporary_before=time.time() - 3600)
    found = {entry.name for entry in (tmp_path / "partial").iterdir()}
    assert found == {Digest.of(name.encode()).hex for name in stays}
    store.close()


def test_what_is_being_fetched_stays(partial: PartialBlobs, tmp_path: Path) -> None:
    blob = opened(partial, tmp_path)
    blob.write(DATA[:4])
    partial.sweep(before=time.time() + 1)
    assert blob.path.read_bytes() == DATA[:4]
    blob.close()
    partial.sweep(before=time.time() + 1)
    assert not blob.path.exists()


def test_only_for_root(partial: PartialBlobs, tmp_path: Path) -> None:
    assert (tmp_path / "partial").stat().st_mode & 0o777 == 0o700


def test_what_is_no_file_of_ours_is_passed_over(partial: PartialBlobs, tmp_path: Path) -> None:
    (tmp_path / "partial" / "folder").mkdir()
    (tmp_path / "partial" / "link").symlink_to("/")
    partial.sweep(before=time.time() + 1)
    assert len(list((tmp_path / "partial").iterdir())) == 2


def test_one_file_is_never_two_fetches(partial: PartialBlobs, tmp_path: Path) -> None:
    first = opened(partial, tmp_path)
    first.write(DATA[:4])
    second = opened(partial, tmp_path)
    second.write(DATA)
    assert (second.kept, second.is_right, second.path) == (0, True, tmp_path / "blob")
    second.discard()
    second.close()
    assert first.path.read_bytes() == DATA[:4]
    first.close()
    third = opened(partial, tmp_path)
    assert (third.kept, third.position, third.path) == (4, 4, first.path)
    third.write(DATA[4:])
    assert third.is_right
    third.close()

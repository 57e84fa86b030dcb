"""A state directory that is full, read-only or somebody else's: one clear sentence, nothing half there, and right again
as soon as there is room."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from flox_formats.digest import Digest
from tests.conftest import needs, needs_root
from tests.integration.large_package import large_package
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_closure_faults import nars, referrers
from tests.integration.test_crash import everything, leftovers
from tests.integration.test_observability import FLOXBRIDGE
from tests.integration.test_pull_api import WEB, digest_of, message

MEBIBYTE = 1024 * 1024
PAGE = 4096
SIZE = 8 * MEBIBYTE
NAR_SIZE = 5 * MEBIBYTE


class Disk:
    """A small disk of its own, mounted at the state directory."""

    def __init__(self, place: Path, size: int = SIZE) -> None:
        self.place, self._filler = place, place / "filler"
        place.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={size}", "floxbridge-test")

    def fill(self, *, leave: int) -> None:
        """Until at most `leave` bytes are free."""
        free = os.statvfs(self.place).f_bavail * os.statvfs(self.place).f_frsize
        with suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            filler.write(bytes(max(0, free - leave)))

    def make_room(self) -> None:
        self._filler.unlink()

    def protect(self) -> None:
        self._mount("-o", "remount,ro")

    def unprotect(self) -> None:
        self._mount("-o", "remount,rw")

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.place)], check=True, timeout=20)

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments, str(self.place)], check=True, timeout=20)


@pytest.fixture
def disk(world: World) -> Iterator[Disk]:
    needs_root()
    needs("mount", "umount")
    disk = Disk(world.root / "state")
    yield disk
    disk.unmount()


@pytest.fixture
def blob(world: World) -> Digest:
    path, digest = large_package(world, "large", NAR_SIZE)
    for _ in range(3):
        world.push("acme/web", path, world.package("hello", "hi"))
    return digest


def asks_in_vain(client: httpx2.Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 503, answer.text
    return message(answer)


def test_no_room_for_what_floxhub_says(world: World, disk: Disk, blob: Digest) -> None:
    with running_registry(world.settings()) as client:
        disk.fill(leave=0)
        assert "full" in asks_in_vain(client, f"{WEB}/manifests/live")
        assert client.get("/v2/flox/empty/manifests/live").status_code == 200
        disk.make_room()
        assert digest_of(client, "live") == str(everything(client)["live"])


def test_no_room_for_a_nar(world: World, disk: Disk, blob: Digest) -> None:
    with running_registry(world.settings()) as client:
        assert str(blob) in [layer["digest"] for layer in nars(client)]
        disk.fill(leave=NAR_SIZE // 2)
        with pytest.raises(httpx2.HTTPError):
            client.get(f"{WEB}/blobs/{blob}")
        assert leftovers(disk.place) == []
        assert digest_of(client, "live")
        disk.make_room()
        assert Digest.of(client.get(f"{WEB}/blobs/{blob}").content) == blob


@pytest.mark.parametrize("pages", [1, 3, 12])
def test_room_that_ends_somewhere(world: World, disk: Disk, blob: Digest, pages: int) -> None:
    with running_registry(world.settings("calm")) as client:
        right = everything(client)
    with running_registry(world.settings()) as client:
        disk.fill(leave=pages * PAGE)
        for path in ("manifests/live", "manifests/1", "tags/list", f"blobs/{blob}"):
            with suppress(httpx2.RemoteProtocolError):  # of a NAR that began to arrive
                assert client.get(f"{WEB}/{path}").status_code in (200, 404, 503)
        disk.make_room()
        assert everything(client) == right
    assert leftovers(disk.place) == []
    with running_registry(world.settings()) as client:
        assert everything(client) == right


def test_a_disk_that_becomes_read_only(world: World, disk: Disk, blob: Digest) -> None:
    with running_registry(world.settings()) as client:
        known = digest_of(client, "live")
        disk.protect()
        unchanged = client.get(f"{WEB}/manifests/live")
        assert unchanged.headers["docker-content-digest"] == known
        assert unchanged.headers["floxbridge-resolution"] == "fresh", "what FloxHub says is known without the disk"
        refused = referrers(client)
        assert (refused.status_code, "read-only" in message(refused).lower()) == (503, True)
        world.push("acme/web", world.package("more", "there"))
        last_known = client.get(f"{WEB}/manifests/live")
        assert last_known.headers["docker-content-digest"] == known
        assert last_known.headers["floxbridge-resolution"] == "stale"
        disk.unprotect()
        assert referrers(client).status_code == 200
        assert digest_of(client, "live") != known


def test_does_not_start_on_a_disk_that_is_read_only(world: World, disk: Disk) -> None:
    disk.protect()
    command = [str(FLOXBRIDGE), "serve", "--listen", "127.0.0.1:0", "--state-dir", str(disk.place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "read-only" in done.stderr.lower(), str(disk.place) in done.stderr) == (1, True, True)
    assert "Traceback" not in done.stderr


def in_place_of_pointers(state: Path) -> None:
    for pointer in state.glob("floxhub/*/*/current.*"):
        pointer.write_bytes(b"\xff\x00{} not a commit")


def in_place_of_objects(state: Path) -> None:
    for folder in state.glob("floxhub/acme/web/*/"):
        for path in folder.rglob("*"):
            if path.is_file():
                path.write_bytes(b"not git's")


def in_place_of_records(state: Path) -> None:
    for number, record in enumerate(state.glob("repositories/*/*/*.json")):
        record.write_bytes((b'{"version":0,"held":[]}', b'{"holdings":[{"digest":1}]}', b"", b"\xff")[number % 4])


def beside_everything(state: Path) -> None:
    for folder in [state, *(path for path in state.rglob("*") if path.is_dir())]:
        (folder / "index.db").write_bytes(b"SQLite format 3\0")
        (folder / "old").mkdir()


@pytest.mark.parametrize("spoil", [in_place_of_pointers, in_place_of_objects, in_place_of_records, beside_everything])
def test_what_this_version_did_not_write_is_passed_over(
    world: World, blob: Digest, spoil: Callable[[Path], None]
) -> None:
    with running_registry(world.settings()) as client:
        right = everything(client)
    spoil(world.root / "state")
    with running_registry(world.settings()) as client:
        assert everything(client) == right

"""Blobs that are sent from a file: the same bytes wherever the kernel has them, whoever asks, and however it ends."""

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from flox_formats.digest import Digest
from registry_proxy.content.store import place
from tests.integration.large_package import large_package
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_closure_faults import nars
from tests.integration.test_observability import registry_process
from tests.integration.test_pull_api import WEB
from tests.integration.test_server import open_files, settles
from tests.integration.test_tls import AWAY, Pair
from tests.integration.wire import Wire

MEBIBYTE = 1024 * 1024
SIZE = 9 * MEBIBYTE + 12345
LAST = SIZE - 1


@dataclass(frozen=True)
class Large:
    """A blob that a registry has in a file."""

    digest: Digest
    file: Path

    @property
    def path(self) -> str:
        return f"{WEB}/blobs/{self.digest}"

    @property
    def data(self) -> bytes:
        return self.file.read_bytes()


def stored(world: World, state: str = "state") -> Large:
    """Once it was fetched."""
    path, digest = large_package(world, "large", SIZE)
    world.push("acme/web", path)
    with running_registry(world.settings(state)) as client:
        nars(client)
        assert Digest.of(client.get(f"{WEB}/blobs/{digest}").content) == digest
    return Large(digest, place(world.settings(state).state_dir / "content", digest))


@pytest.fixture
def large(world: World) -> Large:
    return stored(world)


@pytest.fixture(params=["disk", "memory"])
def anywhere(request: pytest.FixtureRequest, world: World) -> Iterator[tuple[str, Large]]:
    """In a state directory on a disk, or on a file system that cannot tell what it has at hand."""
    if request.param == "disk":
        yield "state", stored(world)
        return
    memory = Path("/dev/shm") / f"floxbridge-{secrets.token_hex(8)}"
    try:
        yield str(memory), stored(world, str(memory))
    finally:
        shutil.rmtree(memory)


def forget(file: Path) -> None:
    """Whoever reads it next waits for the disk."""
    with file.open("rb") as opened:
        os.fsync(opened)
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_what_the_disk_has_is_sent(world: World, anywhere: tuple[str, Large]) -> None:
    state, large = anywhere
    with running_registry(world.settings(state)) as client:
        for _ in range(2):  # from the disk, then from the page cache
            forget(large.file)
            assert client.get(large.path).content == large.data
            assert client.get(large.path).content == large.data


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        pytest.param("bytes=1-", 1, SIZE, id="open"),
        pytest.param(f"bytes=-{3 * MEBIBYTE + 1}", SIZE - 3 * MEBIBYTE - 1, SIZE, id="suffix"),
        pytest.param(f"bytes=777-{4 * MEBIBYTE}", 777, 4 * MEBIBYTE + 1, id="across-spans"),
        pytest.param(f"bytes={2 * MEBIBYTE}-{4 * MEBIBYTE - 1}", 2 * MEBIBYTE, 4 * MEBIBYTE, id="one-span"),
        pytest.param(f"bytes=0-{LAST}", 0, SIZE, id="all"),
    ],
)
def test_a_part(world: World, large: Large, asked: str, start: int, stop: int) -> None:
    with running_registry(world.settings()) as client:
        forget(large.file)
        for _ in range(2):
            answer = client.get(large.path, headers={"Range": asked})
            assert (answer.status_code, answer.content == large.data[start:stop]) == (206, True)


def test_many_on_one_connection(world: World, large: Large) -> None:
    """One after the other, though all were asked for at once, and small answers between them."""
    with running_registry(world.settings()) as client, Wire(client.base_url) as wire:
        for path in (large.path, "/healthz", large.path, large.path, "/v2/"):
            wire.get(path)
        forget(large.file)
        bodies = [wire.answer().body for _ in range(5)]
        assert [body == large.data for body in bodies] == [True, False, True, True, False]
        wire.get("/healthz")
        assert wire.answer().status == 200


def test_a_slow_reader_gets_all_of_it_and_disturbs_nobody(world: World, large: Large) -> None:
    with running_registry(world.settings()) as client, Wire(client.base_url, receive_buffer=64 * 1024) as slow:
        slow.get(large.path)
        status, headers = slow.head()
        assert (status, headers["content-length"]) == (200, str(SIZE))
        assert client.get(large.path).content == large.data
        forget(large.file)
        assert slow.read(SIZE) == large.data


def test_tls_has_the_same_bytes(world: World, large: Large, tmp_path: Path) -> None:
    pair = Pair.make()
    pair.write(tmp_path)
    settings = world.settings(
        tls_cert_file=tmp_path / "tls.crt", tls_key_file=tmp_path / "tls.key", hub_dir=None, floxhub_url=AWAY
    )
    with running_registry(settings) as client:
        url = f"{client.base_url}".rstrip("/")
        with httpx2.Client(base_url=url, verify=pair.trusting(), timeout=30) as trusting:
            assert trusting.get(large.path).content == large.data


def test_a_file_that_is_too_short_is_never_taken_for_the_whole(world: World, large: Large) -> None:
    """Nor is it a good answer's end: the connection breaks, the log says why, and the next request is answered."""
    with registry_process(world) as (client, program):
        assert client.get(large.path, headers={"Range": "bytes=0-0"}).status_code == 206
        with Wire(client.base_url, receive_buffer=64 * 1024) as wire:
            wire.get(large.path)
            assert wire.head()[0] == 200
            os.truncate(large.file, SIZE - 1)
            assert len(wire.rest()) == SIZE - 1
        assert client.get("/healthz").status_code == 200
        assert f"the file ends at {SIZE - 1}, 1 bytes too early" in program.log_end()


def test_nothing_stays_open(world: World, large: Large) -> None:
    with registry_process(world) as (client, program):
        client.get(large.path)
        before = len(open_files(program))
        for _ in range(20):
            rude = Wire(client.base_url, receive_buffer=64 * 1024)
            rude.get(large.path)
            assert rude.head()[0] == 200
            forget(large.file)
            rude.reset()
        assert settles(client, lambda: len(open_files(program)) <= before)
        assert not [*program.events("error"), *program.events("warning")]

"""One download for any number of readers, none of whom owns it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from flox_formats.digest import Digest
from registry_proxy.content.downloads import Download, Downloads
from registry_proxy.content.store import ContentStore
from registry_proxy.errors import NixCacheUnavailable

DATA = bytes(range(256)) * 16384  # 4 MiB
DIGEST = Digest.of(DATA)
WAIT_S = 20


class Upstream:
    """Sends DATA in two halves; the second when `go_on` is set. Counts how often it was asked."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data, self.asked, self.go_on = data, 0, asyncio.Event()

    async def __call__(self) -> AsyncIterator[bytes]:
        self.asked += 1
        half = len(self.data) // 2
        yield self.data[:half]
        await self.go_on.wait()
        yield self.data[half:]


def run(test: Callable[[ContentStore, Downloads], Awaitable[None]], root: Path) -> None:
    async def with_deadline() -> None:
        store = ContentStore(root)
        downloads = Downloads(store)
        try:
            await asyncio.wait_for(test(store, downloads), WAIT_S)
        finally:
            await downloads.aclose()

    asyncio.run(with_deadline())


async def read(download: Download) -> bytes:
    return b"".join([chunk async for chunk in download.stream(0, download.size)])


def test_readers_get_bytes_before_the_end_and_a_late_one_gets_the_first_ones(tmp_path: Path) -> None:
    async def test(store: ContentStore, downloads: Downloads) -> None:
        upstream = Upstream()
        early = await downloads.join(DIGEST, len(DATA), upstream, what="x")
        chunks = early.stream(0, early.size)
        first = await anext(chunks)
        late = await downloads.join(DIGEST, len(DATA), upstream, what="x")
        assert (late is early, await anext(late.stream(0, late.size))) == (True, first)
        assert store.find(DIGEST) is None
        upstream.go_on.set()
        assert b"".join([first, *[chunk async for chunk in chunks]]) == DATA
        await late.whole()
        found = store.find(DIGEST)
        assert found is not None
        assert (found.path.read_bytes(), upstream.asked) == (DATA, 1)

    run(test, tmp_path)


def test_a_reader_that_goes_away_cancels_nothing(tmp_path: Path) -> None:
    async def test(store: ContentStore, downloads: Downloads) -> None:
        upstream = Upstream()
        download = await downloads.join(DIGEST, len(DATA), upstream, what="x")
        reader, other = asyncio.create_task(read(download)), asyncio.create_task(read(download))
        await asyncio.sleep(0)
        reader.cancel()
        upstream.go_on.set()
        assert await other == DATA
        assert store.find(DIGEST) is not None

    run(test, tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(DATA[:-1], id="cut-off"),
        pytest.param(DATA[:-1] + b"?", id="last-byte"),
        pytest.param(DATA + b"?", id="too-long"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_wrong_bytes_reach_nobody_whole_and_leave_nothing(tmp_path: Path, data: bytes) -> None:
    async def test(store: ContentStore, downloads: Downloads) -> None:
        upstream = Upstream(data)
        upstream.go_on.set()
        got = list[bytes | memoryview]()

        async def read_all() -> None:
            download = await downloads.join(DIGEST, len(DATA), upstream, what="package x")
            async for chunk in download.stream(0, download.size):
                got.append(chunk)

        with pytest.raises(NixCacheUnavailable, match=r"\(package x\)"):
            await read_all()
        assert sum(map(len, got)) < len(DATA)
        assert store.find(DIGEST) is None
        good = Upstream()
        good.go_on.set()
        again = await downloads.join(DIGEST, len(DATA), good, what="x")
        assert await read(again) == DATA

    run(test, tmp_path)
    assert not list((tmp_path / ".staging").iterdir())


def test_what_was_under_way_at_the_end_leaves_nothing(tmp_path: Path) -> None:
    async def test(store: ContentStore, downloads: Downloads) -> None:
        await downloads.join(DIGEST, len(DATA), Upstream(), what="x")

    run(test, tmp_path)
    assert not list((tmp_path / ".staging").iterdir())


def test_a_blob_of_unknown_digest_is_measured(tmp_path: Path) -> None:
    async def test(store: ContentStore, downloads: Downloads) -> None:
        upstream = Upstream()
        upstream.go_on.set()
        digest, stored = await downloads.measure(upstream)
        assert (digest, stored.size, stored.path.read_bytes()) == (DIGEST, len(DATA), DATA)

    run(test, tmp_path)


def test_staging_of_a_killed_process_is_swept(tmp_path: Path) -> None:
    ContentStore(tmp_path).stage().write(b"half")
    assert list((tmp_path / ".staging").iterdir())
    ContentStore(tmp_path)
    assert not list((tmp_path / ".staging").iterdir())

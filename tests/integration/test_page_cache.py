"""Reading from the page cache: the same bytes whether the kernel has them at hand, has to look, or cannot tell."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_proxy.content.page_cache import PIECE_BYTES, read_at

DATA = bytes(range(256)) * (PIECE_BYTES // 128)


@pytest.fixture(params=["disk", "memory"])
def handle(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """A file of a disk's file system, and of one that cannot tell what it has at hand."""
    folder = tmp_path if request.param == "disk" else Path("/dev/shm")
    path = folder / f"page-cache-{os.getpid()}"
    path.write_bytes(DATA)
    handle = os.open(path, os.O_RDONLY)
    path.unlink()
    yield handle
    os.close(handle)


@pytest.mark.anyio
async def test_a_file_is_read_to_its_end_and_no_further(handle: int) -> None:
    found, pieces = b"", 0
    while piece := await read_at(handle, len(DATA), len(found)):
        assert len(piece) <= PIECE_BYTES
        found, pieces = found + piece, pieces + 1
    assert found == DATA
    assert pieces == 2


@pytest.mark.anyio
async def test_what_the_kernel_has_let_go_is_read_from_the_disk(handle: int) -> None:
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    assert await read_at(handle, 1000, 10) == DATA[10:1010]


@pytest.mark.anyio
async def test_a_part_is_read_from_where_it_was_asked(handle: int) -> None:
    assert await read_at(handle, 5, 3) == DATA[3:8]
    assert await read_at(handle, 5, len(DATA) - 2) == DATA[-2:]


@pytest.mark.anyio
async def test_what_cannot_be_read_is_an_error() -> None:
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek"):
            await read_at(write_end, 10, 0)
    finally:
        os.close(read_end)
        os.close(write_end)

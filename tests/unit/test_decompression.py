"""Compressed files: read whole, in any pieces, in bounded memory, and any bytes at all without surprise."""

import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flox_formats.narinfo import Compression
from shim_hooks.errors import ContentRejected, StoreFailed
from shim_hooks.store.decompression import DecompressedFile
from tests.integration.small_registry import COMPRESS

DATA = b"".join(n.to_bytes(4, "big") for n in range(200_000)) + bytes(100_000)


def pieces(data: bytes, compression: Compression, size: int) -> Iterator[bytes]:
    with TemporaryDirectory() as folder:
        blob = Path(folder, "blob")
        blob.write_bytes(data)
        with DecompressedFile(blob, compression) as file:
            while piece := file.read(size):
                yield piece


@pytest.mark.parametrize("size", [1_000_000_000, 4096, 777])
@pytest.mark.parametrize("compression", COMPRESS)
def test_gives_back_what_was_compressed(compression: Compression, size: int) -> None:
    found = list(pieces(COMPRESS[compression](DATA), compression, size))
    assert b"".join(found) == DATA
    assert max(map(len, found)) <= size


@pytest.mark.parametrize("compression", COMPRESS)
def test_several_streams_in_a_row_are_one(compression: Compression) -> None:
    data = b"".join(COMPRESS[compression](part) for part in (b"one", b"", b"two" * 1000))
    assert b"".join(pieces(data, compression, 100)) == b"one" + b"two" * 1000


COMPRESSED = [compression for compression in COMPRESS if compression is not Compression.NONE]


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_cut_off(compression: Compression, kept: float) -> None:
    data = COMPRESS[compression](DATA)
    with pytest.raises(ContentRejected, match=f"compressed with {compression}"):
        b"".join(pieces(data[: int(len(data) * kept)], compression, 4096))


@pytest.mark.parametrize("compression", COMPRESSED)
def test_something_behind_it(compression: Compression) -> None:
    with pytest.raises(ContentRejected, match=f"compressed with {compression}"):
        b"".join(pieces(COMPRESS[compression](DATA) + b"something else", compression, 4096))


@pytest.mark.parametrize("compression", COMPRESSED)
def test_memory_does_not_grow_with_what_is_inside(compression: Compression) -> None:
    bomb = COMPRESS[compression](bytes(100_000_000))
    tracemalloc.start()
    try:
        read = sum(map(len, pieces(bomb, compression, 256 * 1024)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 100_000_000
    assert peak < 20_000_000  # what xz looks back on is 8 MiB of it


@settings(deadline=None)
@given(st.binary(max_size=500), st.sampled_from(COMPRESSED), st.integers(0, 40))
def test_any_bytes_are_data_or_say_why_not(data: bytes, compression: Compression, kept: int) -> None:
    start = COMPRESS[compression](b"x" * 100)[:kept]
    with suppress(ContentRejected):
        b"".join(pieces(start + data, compression, 4096))


def test_a_blob_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="unpacking"):
        DecompressedFile(tmp_path / "none", Compression.XZ)

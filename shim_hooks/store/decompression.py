"""Compressed files as a stream of what is inside, in bounded memory whatever the bytes claim.

Belongs here: the compressions of binary caches. What is inside is somebody else's to judge.
"""

import bz2
import lzma
import sys
import zlib
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from flox_formats.narinfo import Compression
from shim_hooks.errors import ContentRejected
from shim_hooks.store.disk import disk_errors

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CHUNK_BYTES = 256 * 1024
_XZ_MEMORY_BYTES = 256 * 1024 * 1024
"""Four times what `xz -9` makes one need. Zstandard's own default, windows of 128 MiB, holds for that one."""


class _Decompressor(Protocol):
    """What bz2, lzma and zstd agree on."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """The same from zlib, which keeps its unread input for the caller to hand in again."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))


def _decompressor(compression: Compression) -> _Decompressor:
    match compression:
        case Compression.XZ:
            return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
        case Compression.ZSTD:
            return zstd.ZstdDecompressor()
        case Compression.BZIP2:
            return bz2.BZ2Decompressor()
        case Compression.GZIP:
            return _Gzip()
        case Compression.NONE:
            raise AssertionError("read as it is")


_BROKEN = (lzma.LZMAError, zstd.ZstdError, zlib.error, OSError, ValueError, EOFError)
"""What the four raise for bytes that are none of theirs; bz2 says OSError."""


class DecompressedFile:
    """A context manager. Several compressed streams in a row are one, as for the programs of the same names."""

    def __init__(self, path: Path, compression: Compression) -> None:
        self._path, self._compression = path, compression
        with disk_errors("unpacking", path.parent):
            self._file = path.open("rb", buffering=0)
        self._inner = None if compression is Compression.NONE else _decompressor(compression)
        self._ahead = b""  # read from the file and not given to the decompressor yet

    def read(self, size: int) -> bytes:
        """At most `size` bytes, and b"" at the end. Raises ContentRejected for a file that is not as it should be."""
        while self._inner is not None:
            if self._inner.eof:
                self._ahead = self._inner.unused_data or self._read(_CHUNK_BYTES)
                if not self._ahead:
                    return b""
                self._inner = _decompressor(self._compression)
            if self._inner.needs_input and not self._ahead:
                self._ahead = self._read(_CHUNK_BYTES)
                if not self._ahead:
                    raise ContentRejected(f"a NAR compressed with {self._compression} is cut off")
            given, self._ahead = self._ahead, b""
            piece = self._decompress(self._inner, given, size)
            if piece:
                return piece
        return self._read(size)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _read(self, size: int) -> bytes:
        with disk_errors("unpacking", self._path.parent):
            return self._file.read(size)

    def _decompress(self, inner: _Decompressor, given: bytes, size: int) -> bytes:
        try:
            return inner.decompress(given, size)
        except _BROKEN as problem:
            raise ContentRejected(
                f"a NAR is not compressed with {self._compression}, or damaged: {problem}"
            ) from problem

"""A look through a git pack before anything unpacks it: how large would its objects be?

Git itself believes the sizes that a pack declares, and one mebibyte of a user's push can declare a gibibyte of
zeros. Here each stream is inflated in small pieces that are thrown away, so a bomb costs time and no memory.
Format: https://git-scm.com/docs/gitformat-pack
"""

import zlib
from typing import BinaryIO

_BUFFER_BYTES = 64 * 1024
_OFS_DELTA, _REF_DELTA = 6, 7
_OBJECT_TYPES = (1, 2, 3, 4, _OFS_DELTA, _REF_DELTA)
_DELTA_HEADER_BYTES = 32


class PackRefused(ValueError):
    """A pack that is not one, or that would unpack to more than the bounds."""


def check_pack(pack: BinaryIO, *, max_objects: int, max_object_bytes: int, max_total_bytes: int) -> None:
    """Reads `pack` from its start; raises PackRefused at the first object outside the bounds (bytes unpacked)."""
    header = pack.read(12)
    if len(header) != 12 or header[:4] != b"PACK" or int.from_bytes(header[4:8], "big") not in (2, 3):
        raise PackRefused("not a git pack")
    count = int.from_bytes(header[8:12], "big")
    if count > max_objects:
        raise PackRefused(f"a pack of {count} objects, more than the {max_objects} that are read")
    stream, total = _Stream(pack), 0
    for _ in range(count):
        size = _object_size(stream, max_object_bytes)
        total += size
        if size > max_object_bytes or total > max_total_bytes:
            raise PackRefused(
                f"a pack whose objects are larger than the {max_object_bytes} bytes each, "
                f"{max_total_bytes} together, that are read"
            )


class _Stream:
    """Bytes with a push-back: inflating reads further than the end of its stream."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self._ahead = source, b""

    def byte(self) -> int:
        chunk = self.some(1)
        self.push_back(chunk[1:])
        return chunk[0]

    def some(self, size: int) -> bytes:
        chunk = self._ahead or self._source.read(size)
        self._ahead = b""
        if not chunk:
            raise PackRefused("a git pack that is cut off")
        return chunk

    def push_back(self, data: bytes) -> None:
        self._ahead = data + self._ahead


def _object_size(stream: _Stream, max_bytes: int) -> int:
    byte = stream.byte()
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        byte = stream.byte()
        size |= (byte & 0x7F) << shift
        shift += 7
        if shift > 64:
            raise PackRefused("a git pack with an object of no sensible size")
    if kind not in _OBJECT_TYPES:
        raise PackRefused(f"a git pack with an object of unknown type {kind}")
    if kind == _REF_DELTA:
        for _ in range(20):
            stream.byte()
    elif kind == _OFS_DELTA:
        while stream.byte() & 0x80:
            pass
    if size > max_bytes:
        return size
    start = _inflate(stream, size)
    return max(size, _delta_target_size(start)) if kind in (_OFS_DELTA, _REF_DELTA) else size


def _inflate(stream: _Stream, size: int) -> bytes:
    """Passes over one zlib stream that should hold `size` bytes; its first few."""
    inflater, seen, start = zlib.decompressobj(), 0, b""
    while not inflater.eof:
        data = inflater.unconsumed_tail or stream.some(_BUFFER_BYTES)
        try:
            piece = inflater.decompress(data, _BUFFER_BYTES)
        except zlib.error as error:
            raise PackRefused(f"a git pack with a broken object: {error}") from error
        seen += len(piece)
        start = (start + piece)[:_DELTA_HEADER_BYTES] if len(start) < _DELTA_HEADER_BYTES else start
        if seen > size:
            raise PackRefused("a git pack with an object larger than it declares")
    if seen < size:
        raise PackRefused("a git pack with an object smaller than it declares")
    stream.push_back(inflater.unused_data)
    return start


def _delta_target_size(delta: bytes) -> int:
    """A delta begins with two sizes, seven bits a byte: of its base, and of what it makes."""
    sizes, position = [0, 0], 0
    for which in range(2):
        shift = 0
        while True:
            if position >= len(delta):
                raise PackRefused("a git pack with a delta that is cut off")
            byte = delta[position]
            position += 1
            sizes[which] |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
    return sizes[1]

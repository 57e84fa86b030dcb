"""Answers of a binary cache that are encoded although that was not asked for, decoded in bounded memory.

Belongs here: the encodings. Who has narinfos in S3 may have them compressed there (Nix's `narinfo-compression`), and
then they are sent so to everybody. https://www.rfc-editor.org/rfc/rfc9110#section-8.4
"""

import sys
import zlib
from collections.abc import Callable

from flox_formats.errors import FormatError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_WINDOW_LOG = 23
"""What a client has to have memory for, https://www.rfc-editor.org/rfc/rfc9659"""


class EncodingInvalid(FormatError):
    """Bytes that are not encoded as it is said of them, or in a way that is not undone here."""


def decoded(data: bytes, encoding: str, *, limit: int) -> bytes:
    """What `data`, with this Content-Encoding, is: whole, or its first `limit` bytes and one more."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return data
    decode = _DECODE.get(name)
    if decode is None:
        raise EncodingInvalid(f"is encoded with {encoding[:50]!r}, which is not undone: only {', '.join(_DECODE)} are")
    try:
        return decode(data, limit + 1)
    except (zlib.error, zstd.ZstdError) as problem:
        raise EncodingInvalid(f"is not encoded with {name}, as it says: {problem}") from problem


def _gunzip(data: bytes, size: int) -> bytes:
    inner = zlib.decompressobj(wbits=31)
    return _whole(inner.decompress(data, size), size, is_whole=inner.eof)


def _unzstd(data: bytes, size: int) -> bytes:
    inner = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    return _whole(inner.decompress(data, size), size, is_whole=inner.eof)


def _whole(found: bytes, size: int, *, is_whole: bool) -> bytes:
    if len(found) < size and not is_whole:
        raise EncodingInvalid("is encoded, and cut off")
    return found


_DECODE: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gunzip, "x-gzip": _gunzip, "zstd": _unzstd}

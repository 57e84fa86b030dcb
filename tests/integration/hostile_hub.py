"""A FloxHub that lies in git's own protocol: one of its answers is replaced, the others are a real hub's.

Belongs here: the bytes of such answers, by https://git-scm.com/docs/protocol-v2 and https://git-scm.com/docs/gitformat-pack
"""

import hashlib
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import count, repeat

from anyio.lowlevel import checkpoint
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEBIBYTE = 1024 * 1024
_BLOB, _OFS_DELTA, _REF_DELTA = 3, 6, 7
_LINE_BYTES = 65_000
_DATA, _PROGRESS = b"\1", b"\2"


class Question(StrEnum):
    """What git asks, in this order."""

    CAPABILITIES = auto()
    BRANCHES = auto()
    PACK = auto()


@dataclass(frozen=True)
class Lie:
    """`answer` comes in place of the one to a question; it is said to be in `encoding`."""

    to: Question
    answer: Iterable[bytes]
    encoding: str = "identity"


class HostileHub:
    """Serves `app`, but for the one question that there is a `lie` for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.lie: Lie | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.lie is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        asked = Question.CAPABILITIES if not body else Question.BRANCHES if b"ls-refs" in body else Question.PACK
        if asked is not self.lie.to:
            await self._app(scope, _again(body, receive), send)
            return
        kind = "result" if body else "advertisement"
        headers = {"content-encoding": self.lie.encoding}
        lying = StreamingResponse(
            _in_turn(self.lie.answer), headers=headers, media_type=f"application/x-git-upload-pack-{kind}"
        )
        await lying(scope, receive, send)


def line(text: bytes) -> bytes:
    return b"%04x" % (len(text) + 4) + text


def endless_capabilities() -> Iterator[bytes]:
    yield line(b"version 2\n")
    yield from (line(b"invented-%d\n" % number) * 1000 for number in count())


def endless_branches() -> Iterator[bytes]:
    for number in count():
        yield b"".join(line(b"%040x refs/heads/e%d-%d\n" % (number, number, each)) for each in range(1000))


def riddles(branch: str, commit: str, words: int) -> Iterator[bytes]:
    """The branch is right; much else that no client knows stands behind it."""
    yield line(f"{commit} refs/heads/{branch}".encode() + b" riddle" * words)
    yield b"0000"


def pack_elsewhere(url: str) -> Iterator[bytes]:
    yield line(b"packfile-uris\n")
    yield line(f"{url} sha1 {'0' * 40}\n".encode())
    yield line(b"packfile\n")
    yield b"0000"


def endless_progress() -> Iterator[bytes]:
    yield line(b"packfile\n")
    yield from repeat(line(_PROGRESS + b"\r" * _LINE_BYTES))


def answer(pack: Iterable[bytes]) -> Iterator[bytes]:
    """A pack as the answer to a fetch."""
    yield line(b"packfile\n")
    for piece in pack:
        for begin in range(0, len(piece), _LINE_BYTES):
            yield line(_DATA + piece[begin : begin + _LINE_BYTES])
    yield b"0000"


def endless_pack() -> Iterator[bytes]:
    """It would be one large blob of nothing in particular, not compressed."""
    yield _header(1) + _object(_BLOB, 2**40) + b"\x78\x01"
    yield from repeat(b"\x00\xff\xff\x00\x00" + bytes(0xFFFF))


def pack(*objects: bytes, declared: int | None = None) -> Iterator[bytes]:
    sha1 = hashlib.sha1(usedforsecurity=False)
    for piece in (_header(len(objects) if declared is None else declared), *objects):
        sha1.update(piece)
        yield piece
    yield sha1.digest()


def blob(content: bytes, *, declared: int | None = None) -> bytes:
    return _object(_BLOB, len(content) if declared is None else declared) + zlib.compress(content, 1)


def bomb(size: int, *, declared: int | None = None) -> bytes:
    """A blob of zeros, in a thousandth of its size, made without ever having them all."""
    compressor = zlib.compressobj(9)
    zeros = bytes(MEBIBYTE)
    pieces = [compressor.compress(zeros) for _ in range(size // MEBIBYTE)]
    return _object(_BLOB, size if declared is None else declared) + b"".join(pieces) + compressor.flush()


def delta(base_size: int, size: int, *, back: int, copies: int = 0, inserted: int = 0) -> bytes:
    """What makes `size` bytes, it says, of the object `back` bytes before it: of so many times its first 64 KiB, and so
    many zeros."""
    instructions = _instructions(base_size, size, copies, inserted)
    return _object(_OFS_DELTA, len(instructions)) + _offset(back) + zlib.compress(instructions)


def delta_by_name(base: bytes, size: int) -> bytes:
    instructions = _instructions(size, size, 0, size)
    return _object(_REF_DELTA, len(instructions)) + base + zlib.compress(instructions)


def with_checksum(pack: bytes) -> bytes:
    """The same, with the checksum that it should have at its end."""
    return pack[:-20] + hashlib.sha1(pack[:-20], usedforsecurity=False).digest()


def _instructions(base_size: int, size: int, copies: int, inserted: int) -> bytes:
    whole, rest = divmod(inserted, 127)
    zeros = (b"\x7f" + bytes(127)) * whole + (bytes([rest]) + bytes(rest) if rest else b"")
    return _varint(base_size) + _varint(size) + b"\x80" * copies + zeros


def _header(objects: int) -> bytes:
    return b"PACK" + (2).to_bytes(4, "big") + objects.to_bytes(4, "big")


def _object(kind: int, size: int) -> bytes:
    head, size = bytearray([kind << 4 | size & 15]), size >> 4
    while size:
        head[-1] |= 0x80
        head.append(size & 0x7F)
        size >>= 7
    return bytes(head)


def _varint(number: int) -> bytes:
    found = bytearray([number & 0x7F])
    while number := number >> 7:
        found[-1] |= 0x80
        found.append(number & 0x7F)
    return bytes(found)


def _offset(back: int) -> bytes:
    """Big end first, and each further byte counts from one."""
    found = [back & 0x7F]
    while back := back >> 7:
        back -= 1
        found.insert(0, 0x80 | back & 0x7F)
    return bytes(found)


async def _in_turn(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    """So that a client that went away is noticed, however much there is to say."""
    for each in lines:
        yield each
        await checkpoint()


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive`, whose body was read, from the start."""
    read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def from_start() -> Message:
        return read.pop() if read else await receive()

    return from_start

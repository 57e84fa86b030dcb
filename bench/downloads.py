"""Downloads: blobs fetched by some clients at once, counted and thrown away.

The clients are sockets in this process: nothing but the kernel stands between the server and the count.
"""

import re
import selectors
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.benchmark import BenchmarkFailed

_BUFFER_BYTES = 1024 * 1024
_SILENCE_S = 60.0
_MOST_HEAD_BYTES = 64 * 1024
_HEAD = re.compile(rb"HTTP/1\.1 200 .*?\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Blob:
    """`path` as in its URL, after the server."""

    path: str
    size: int


def download(url: str, *, size: int, clients: int = 1) -> float:
    """Seconds until each client has all `size` bytes of the answer's body. Raises BenchmarkFailed."""
    parts = urlsplit(url)
    return download_all(f"{parts.scheme}://{parts.netloc}", [Blob(parts.path, size)], clients=clients)


def download_all(server: str, blobs: Sequence[Blob], *, clients: int, connections: int = 1) -> float:
    """Seconds until each client has each blob, all in this order, over `connections` of its own. Raises
    BenchmarkFailed."""
    address = urlsplit(server)
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with selectors.DefaultSelector() as selector, ExitStack() as sockets:
        began = time.perf_counter()
        for left in [iter(blobs) for _ in range(clients)]:
            for first in _take(left, connections):
                opened = socket.create_connection((address.hostname or "", address.port or 80), timeout=_SILENCE_S)
                sockets.enter_context(opened).setblocking(False)
                connection = _Connection(opened, address.netloc, left, first)
                selector.register(opened, selectors.EVENT_READ, connection)
        while selector.get_map():
            ready = selector.select(_SILENCE_S)
            if not ready:
                raise BenchmarkFailed(f"{server}: no byte came in {_SILENCE_S:g} s")
            for key, _ in ready:
                if not key.data.read(buffer):
                    selector.unregister(key.fileobj)
        return time.perf_counter() - began


def _take(left: Iterator[Blob], count: int) -> Iterable[Blob]:
    return [blob for _, blob in zip(range(count), left, strict=False)]


class _Connection:
    """One of a client's, which asks for the next blob that is `left` of it when it has one."""

    def __init__(self, opened: socket.socket, host: str, left: Iterator[Blob], first: Blob) -> None:
        self._socket, self._host, self._left = opened, host, left
        self._ask(first)

    def read(self, buffer: memoryview) -> bool:
        """What is there now; False when nothing more will come. Raises BenchmarkFailed."""
        count = self._socket.recv_into(buffer)
        self._answer.take(buffer[:count])
        if not self._answer.whole:
            return True
        following = next(self._left, None)
        if following is not None:
            self._ask(following)
        return following is not None

    def _ask(self, blob: Blob) -> None:
        self._answer = Answer(blob)
        self._socket.sendall(f"GET {blob.path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())


class Answer:
    """A blob's as it comes: its head while it is not whole, then only how much there was of its body."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._head, self._body_size = b"", -1

    @property
    def whole(self) -> bool:
        return self._body_size == self._blob.size

    def take(self, data: memoryview) -> None:
        """No bytes are the end of the connection. Raises BenchmarkFailed for what is not the whole blob."""
        if not data:
            raise BenchmarkFailed(f"{self._blob.path}: ended after {self._head[:200]!r} and {self._body_size} bytes")
        if self._body_size >= 0:
            self._body_size += len(data)
        else:
            self._head += data
            self._body_size = self._begun()
        if self._body_size > self._blob.size:
            raise BenchmarkFailed(f"{self._blob.path}: {self._body_size} bytes came, not {self._blob.size}")

    def _begun(self) -> int:
        """How much there is of the body; -1 while the head is not whole."""
        head = _HEAD.match(self._head)
        if head is None:
            if b"\r\n\r\n" in self._head or len(self._head) > _MOST_HEAD_BYTES:
                raise BenchmarkFailed(f"{self._blob.path}: {self._head[:200]!r}")
            return -1
        length = _LENGTH.search(head.group())
        if length is None or int(length.group(1)) != self._blob.size:
            raise BenchmarkFailed(f"{self._blob.path}: not {self._blob.size} bytes: {self._head[:500]!r}")
        return len(self._head) - head.end()

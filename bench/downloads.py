"""Downloads: one URL fetched by some clients at once, counted and thrown away.

The clients are sockets in this process: nothing but the kernel stands between the server and the count.
"""

import re
import selectors
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.benchmark import BenchmarkFailed

_BUFFER_BYTES = 1024 * 1024
_SILENCE_S = 60.0
_STATUS = re.compile(rb"HTTP/1\.1 200 .*?\r\n\r\n", re.DOTALL)


def download(url: str, *, size: int, clients: int = 1) -> float:
    """Seconds until each client has all `size` bytes of the answer's body. Raises BenchmarkFailed."""
    address = urlsplit(url)
    request = f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode()
    buffer = bytearray(_BUFFER_BYTES)
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        for _ in range(clients):
            connection = socket.create_connection((address.hostname or "", address.port or 80), timeout=_SILENCE_S)
            connection.sendall(request)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, _Received())
        while selector.get_map():
            ready = selector.select(_SILENCE_S)
            if not ready:
                raise BenchmarkFailed(f"{url}: no byte came in {_SILENCE_S:g} s")
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                count = key.fileobj.recv_into(buffer)
                if count:
                    key.data.take(memoryview(buffer)[:count])
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    key.data.require(url, size)
        return time.perf_counter() - began


@dataclass(slots=True)
class _Received:
    """The answer's head while it is not whole, then only how much there was of its body."""

    head: bytes = b""
    body_size: int = field(default=-1)

    def take(self, data: memoryview) -> None:
        if self.body_size >= 0:
            self.body_size += len(data)
            return
        self.head += data
        end = _STATUS.match(self.head)
        if end is not None:
            self.body_size = len(self.head) - end.end()

    def require(self, url: str, size: int) -> None:
        if self.body_size < 0:
            raise BenchmarkFailed(f"{url}: {self.head[:200]!r}")
        if self.body_size != size:
            raise BenchmarkFailed(f"{url}: {self.body_size} bytes came, not {size}")

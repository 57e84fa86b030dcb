"""A client that writes bytes: what no HTTP library lets one send, and what a server does with a connection."""

import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

DEADLINE_S = 20


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection. Whatever it waits for, it waits for 20 seconds at most."""

    def __init__(self, url: object, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        """A small `receive_buffer` makes a reader that holds the server up soon. `tls` is for a host without a name."""
        at = urlsplit(str(url))
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE_S)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((at.hostname, at.port))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=at.hostname)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def reset(self) -> None:
        """Goes away without a word: the server sees a connection that was reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, path: str, *headers: str, method: str = "GET") -> None:
        self.send("\r\n".join((f"{method} {path} HTTP/1.1", "Host: registry", *headers, "", "")).encode())

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers, their names in lower case."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def answer(self) -> Answered:
        """One answer that has a Content-Length."""
        status, headers = self.head()
        return Answered(status, headers, self.read(int(headers["content-length"])))

    def read(self, count: int) -> bytes:
        """`count` bytes, or fewer at the connection's end."""
        return self._file.read(count)

    def rest(self) -> bytes:
        """Until the server closes; a reset counts as that."""
        found = []
        with suppress(ConnectionResetError):
            while piece := self._file.read1(65536):
                found.append(piece)
        return b"".join(found)

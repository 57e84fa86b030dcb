"""What the registry would send for a path, told by its digest alone: a question that costs a create next to nothing.

Belongs here: asking it from a thread, over connections that are kept. Whoever gets no answer asks in full
(`http.py`), and learns there what is wrong: nothing is an error here.
"""

import socket
from contextlib import suppress
from urllib.parse import urlsplit

import httptools

from flox_formats.digest import Digest, DigestInvalid

_PATIENCE_S = 0.5
_MAX_KEPT = 8
_MAX_HEAD_BYTES = 64 * 1024
_DIGEST = b"docker-content-digest"

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""As getaddrinfo has it."""


class RegistryHeads:
    """`base_url` as for `RegistryHttp`. From any thread. Does not ask over TLS: what it would save is lost there.

    Names are resolved by `look_up` alone, which may take as long as a resolver that is ill does.
    """

    def __init__(self, base_url: str, *, connect_timeout_s: float) -> None:
        at = urlsplit(base_url)
        self._name = (at.hostname or "", at.port or 80) if at.scheme == "http" else None
        self._before, self._host = at.path.rstrip("/"), at.netloc.rpartition("@")[2]
        self._connect_timeout_s = connect_timeout_s
        self._address: _Address | None = None
        self._kept = list[socket.socket]()

    @property
    def wants_address(self) -> bool:
        """Whether `look_up` would help: at first, and after the registry was not where it had been."""
        return self._name is not None and self._address is None

    def look_up(self) -> None:
        """Where the registry is. Blocks."""
        if self._name is not None:
            with suppress(OSError, UnicodeError):
                family, _, _, _, address = socket.getaddrinfo(*self._name, type=socket.SOCK_STREAM)[0]
                self._address = family, address

    def digest_of(self, path: str) -> Digest | None:
        """Of the content that an anonymous GET of `path` gets now. Blocks, for half a second at most."""
        address = self._address  # another thread may find out at any moment that it is not there
        if address is None:
            return None
        request = f"HEAD {self._before}{path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: floxbridge-node\r\n\r\n"
        kept = self._take_kept()
        answer = None if kept is None else self._asked(kept, request.encode())
        if answer is None:  # also where the registry had closed the kept one meanwhile
            fresh = self._connect(address)
            answer = None if fresh is None else self._asked(fresh, request.encode())
        return None if answer is None else answer.digest

    def close(self) -> None:
        while self._kept:
            self._kept.pop().close()

    def _take_kept(self) -> socket.socket | None:
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def _connect(self, address: _Address) -> socket.socket | None:
        connection = socket.socket(address[0], socket.SOCK_STREAM)
        connection.settimeout(self._connect_timeout_s)
        try:
            connection.connect(address[1])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            connection.close()
            self._address = None  # it may have moved
            return None
        return connection

    def _asked(self, connection: socket.socket, request: bytes) -> "_Answer | None":
        """None where the connection gave none."""
        answer = _Answer()
        try:
            connection.settimeout(_PATIENCE_S)
            connection.sendall(request)
            while not answer.is_whole:
                answer.take(connection.recv(_MAX_HEAD_BYTES))
        except (OSError, httptools.HttpParserError):
            connection.close()
            return None
        if answer.is_last or len(self._kept) >= _MAX_KEPT:
            connection.close()
        else:
            self._kept.append(connection)
        return answer


class _Answer:
    """The head of one answer, as it comes; httptools calls the `on_` methods. `digest` is there where it is good."""

    def __init__(self) -> None:
        self.is_whole = self.is_last = False
        self.digest: Digest | None = None
        self._parser, self._taken = httptools.HttpResponseParser(self), 0

    def take(self, data: bytes) -> None:
        """Raises HttpParserError for what is no answer, OSError for one that ends or does not end."""
        self._taken += len(data)
        if not data or self._taken > _MAX_HEAD_BYTES:
            raise ConnectionError("no whole answer")
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == _DIGEST:
            with suppress(DigestInvalid, UnicodeDecodeError):
                self.digest = Digest.parse(value.decode("ascii"))

    def on_headers_complete(self) -> None:
        self.is_whole, self.is_last = True, not self._parser.should_keep_alive()
        if self._parser.get_status_code() != 200:
            self.digest = None

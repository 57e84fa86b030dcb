"""A moment after which nobody waits for FloxHub any longer, and an HTTP client that keeps to it.

Belongs here: ending every wait of a thread in time. A timeout of httpx2 is for a single step, and an answer that comes
a byte at a time has as many steps as bytes: a head alone could take hours.
"""

import ssl
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpcore2
import httpx2


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock after which nobody waits any longer."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    def left_s(self) -> float:
        return max(0.0, self.at - time.monotonic())


_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


class PunctualClient(httpx2.Client):
    """What a thread does with it, it does until the deadline that `keep` was last called with there.

    It is a client and not a transport, since a client that is given a transport no longer looks for the proxy that a
    cluster may need. httpcore2 takes a network backend, httpx2 does not hand one on, so it is put into its place here;
    a test on a real port tells when that place has moved.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for transport in (self._transport, *self._mounts.values()):
            if isinstance(transport, httpx2.HTTPTransport):
                pool = transport._pool
                pool._network_backend = _PunctualBackend(pool._network_backend)

    def keep(self, deadline: Deadline) -> None:
        _deadline.set(deadline)


class _PunctualBackend(httpcore2.NetworkBackend):
    def __init__(self, inner: httpcore2.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        left_s = _left_s(timeout, httpcore2.ConnectTimeout)
        return _PunctualStream(self._inner.connect_tcp(host, port, left_s, local_address, socket_options))


class _PunctualStream(httpcore2.NetworkStream):
    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left_s(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left_s(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left_s = _left_s(timeout, httpcore2.ConnectTimeout)
        return _PunctualStream(self._inner.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left_s(timeout: float | None, late: type[httpcore2.TimeoutException]) -> float | None:
    """How long one more step may take. Raises `late` when it is too late for it."""
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left_s = deadline.left_s()
    if not left_s:
        raise late("the deadline has passed")
    return left_s if timeout is None else min(timeout, left_s)

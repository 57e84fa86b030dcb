"""The HTTP client with which binary caches are asked: each request is measured.

Belongs here: how long a cache took to answer, with what outcome, how much it sent. It is a client and not a transport,
since a client that is given a transport no longer looks for the proxy that a cluster may need.
"""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import httpx2

_UPSTREAM = "nix_cache"

_Over = Callable[[str | None, int], None]
"""Told once: the outcome, if it is not the status that decides, and the bytes received."""


class CacheMetrics(Protocol):
    """Told when a request is over. `seconds` is until the headers of its answer came, or until it failed."""

    def upstream_answered(self, upstream: str, outcome: str, seconds: float) -> None: ...

    def upstream_sent(self, upstream: str, received_bytes: int) -> None: ...


class MeasuredClient(httpx2.AsyncClient):
    """Redirects are part of the request that led to them."""

    def __init__(self, metrics: CacheMetrics, **options: Any) -> None:
        super().__init__(**options)
        self._metrics = metrics

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        began = time.perf_counter()
        try:
            response = await super().send(request, **options)
        except httpx2.HTTPError as error:
            outcome = "timeout" if isinstance(error, httpx2.TimeoutException) else "unreachable"
            self._metrics.upstream_answered(_UPSTREAM, outcome, time.perf_counter() - began)
            raise
        seconds, outcome = time.perf_counter() - began, outcome_of(response.status_code)

        def over(instead: str | None, received_bytes: int) -> None:
            self._metrics.upstream_answered(_UPSTREAM, instead or outcome, seconds)
            self._metrics.upstream_sent(_UPSTREAM, received_bytes)

        if response.is_closed:
            over(None, response.num_bytes_downloaded)
        else:
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Body(response.stream, over)
        return response


def outcome_of(status: int) -> str:
    """One word for a status. S3 buckets answer 403 for what they do not have."""
    if status < 400:
        return "ok"
    return "not_found" if status in (403, 404) else "failed"


class _Body(httpx2.AsyncByteStream):
    """A reader that stops early has cut off nothing; an error of the connection has."""

    def __init__(self, inner: httpx2.AsyncByteStream, over: _Over) -> None:
        self._inner, self._over = inner, over
        self._received_bytes = 0
        self._problem: str | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._inner:
                self._received_bytes += len(piece)
                yield piece
        except httpx2.HTTPError:
            self._problem = "cut_off"
            raise

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._over(self._problem, self._received_bytes)

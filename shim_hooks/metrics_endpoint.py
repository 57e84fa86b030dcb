"""`/metrics` and `/healthz` over HTTP: two answers to GET, which need no web server's library in a small process.

Belongs here: that much HTTP, and its bounds. Does not: what the numbers mean (`metrics.py`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shim_hooks.log import Log
from shim_hooks.metrics import Metrics

_HEAD_BYTES = 16 * 1024
_DEADLINE_S = 5.0


@asynccontextmanager
async def metrics_endpoint(address: tuple[str, int] | None, metrics: Metrics, log: Log) -> AsyncIterator[None]:
    """While in the context. Containers matter more: where it cannot listen, the log says so, and the agent goes on."""
    if address is None:
        yield
        return
    host, port = address

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(head, metrics))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return  # who does not ask in time, or in words, gets no answer
        finally:
            writer.close()

    try:
        # An agent that takes over listens beside the old one until that has gone.
        server = await asyncio.start_server(connected, host, port, limit=_HEAD_BYTES, reuse_port=True)
    except OSError as problem:
        log.event("metrics_unavailable", message=f"cannot listen at {host}:{port}: {problem.strerror or problem}")
        yield
        return
    async with server:
        log.event("metrics", port=server.sockets[0].getsockname()[1])
        yield


def _answer(head: bytes, metrics: Metrics) -> bytes:
    line, *fields = head.decode("latin-1").split("\r\n")
    method, _, rest = line.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if method not in ("GET", "HEAD"):
        return _response("405 Method Not Allowed", b"only GET\n")
    if path == "/healthz":
        return _response("200 OK", b"ok\n", with_body=method == "GET")
    if path == "/metrics":
        accept = next((each.partition(":")[2].strip() for each in fields if each.lower().startswith("accept:")), "")
        body, content_type = metrics.exposition(accept)
        return _response("200 OK", body, content_type, with_body=method == "GET")
    return _response("404 Not Found", b"there are /metrics and /healthz\n", with_body=method == "GET")


def _response(
    status: str, body: bytes, content_type: str = "text/plain; charset=utf-8", *, with_body: bool = True
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")

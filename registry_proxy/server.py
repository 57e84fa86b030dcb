"""Serving: one listening socket, one event loop, until somebody asks it to stop; then a drain.

Belongs here: the order in which things begin and end. What a connection may do is in `connection.py`.
"""

import asyncio
import contextlib
import gc
import math
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial

import uvicorn

from registry_proxy.app import build_app
from registry_proxy.connection import Connection
from registry_proxy.endpoints.access_log import AccessLog
from registry_proxy.endpoints.observed import Observed
from registry_proxy.errors import CannotListen
from registry_proxy.log import Log
from registry_proxy.malformed import MalformedRequests
from registry_proxy.metrics import Metrics
from registry_proxy.settings import Settings
from registry_proxy.tls import TlsEvents, TlsFiles
from registry_proxy.whole_answer import WholeAnswers
from registry_proxy.wiring import open_registry

_BACKLOG = 2048
_STALLED_MS = 300_000
"""A client that takes nothing of what waits for it, or is no longer there, for this long is given up by the kernel."""
_AFTER_CUT_S = 2
"""What is left of requests whose connections were cut ends within this, or is cancelled."""


async def serve(settings: Settings, log: Log, stopping: asyncio.Event) -> None:
    """Until `stopping` is set, and what was under way has ended. Logs `listening` with the URL once there is a port.

    Raises SettingsInvalid, CannotListen, StorageFailed.
    """
    _allow_many_files()
    tls = _tls(settings, log)
    with _listen(*settings.listen) as listening:
        url = _url_of(listening, "http" if tls is None else "https")
        urls = settings.floxhub_urls(url)
        metrics, access_log = Metrics(), AccessLog(log) if settings.access_log else None
        metrics.watch(
            "floxbridge_tls_certificate_expiry_timestamp_seconds",
            "When the certificate that is shown expires; 0 without TLS.",
            lambda: 0.0 if tls is None else tls.expires_at,
        )
        async with open_registry(settings, urls, log, metrics) as registry:
            app = WholeAnswers(Observed(build_app(registry.parts, metrics, stopping), metrics.requests, access_log))
            malformed = MalformedRequests(
                counted=metrics.malformed,
                told=lambda **facts: log.event("malformed_request", **facts),
                later=asyncio.get_running_loop().call_later,
            )
            config = uvicorn.Config(
                app,
                interface="asgi3",
                http=partial(Connection, malformed=malformed),  # type: ignore[arg-type]  # it is only called
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=settings.idle_timeout_s,  # type: ignore[arg-type]  # it is only waited for
                timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s) + _AFTER_CUT_S,
                ssl_context_factory=None if tls is None else lambda *_: tls.context,
            )
            _spare_the_collector()
            log.event("listening", url=url, floxhub=urls.base, state_dir=str(settings.state_dir))
            try:
                async with _following(tls):
                    await _serve_and_drain(_Server(config), listening, settings, log, stopping)
            finally:
                malformed.close()
                log.event("stopped")


class _Server(uvicorn.Server):
    """Leaves signals to whoever set `stopping`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve_and_drain(
    server: _Server, listening: socket.socket, settings: Settings, log: Log, stopping: asyncio.Event
) -> None:
    """First only `/readyz` says no, so that load balancers look elsewhere while connections are still taken."""
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="serve")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    try:
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        if stop.done():
            log.event("draining", grace_s=settings.drain_grace_s, connections=len(server.server_state.connections))
            await asyncio.wait((serving,), timeout=settings.drain_grace_s)
            server.should_exit = True
            done, _ = await asyncio.wait((serving,), timeout=settings.drain_timeout_s)
            if not done:
                log.event("drain_cut", connections=len(server.server_state.connections))
                _cut(server)
        await serving
    finally:
        for task in (serving, stop):
            task.cancel()
        _cut(server)  # of who is cancelled; one may be our own, to the FloxHub that is served here
        await asyncio.gather(serving, stop, return_exceptions=True)


def _cut(server: _Server) -> None:
    for connection in list(server.server_state.connections):
        connection.transport.abort()


def _tls(settings: Settings, log: Log) -> TlsFiles | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    events = TlsEvents(
        reloaded=lambda: log.event("tls_reloaded"),
        unusable=lambda sentence: log.event("tls_unusable", message=sentence),
        expiring=lambda sentence: log.event("tls_expiring", message=sentence),
    )
    return TlsFiles(settings.tls_cert_file, settings.tls_key_file, events)


@contextlib.asynccontextmanager
async def _following(tls: TlsFiles | None) -> AsyncIterator[None]:
    task = None if tls is None else asyncio.create_task(tls.follow(), name="tls")
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _spare_the_collector() -> None:
    """All that was made until now stays until the end, so cycles are not looked for in it again.

    Each full look through it stops every request for tens of milliseconds, and answers that are errors leave cycles.
    """
    gc.collect()
    gc.freeze()


def _allow_many_files() -> None:
    """Every connection is one, and the usual limit of a shell or a service is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Linux hands these on to every connection that is taken.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MS)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening


def _url_of(listening: socket.socket, scheme: str) -> str:
    """Where this process can ask itself: an address that stands for all of them is reached by the loopback."""
    host, port = listening.getsockname()[:2]
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{loopback}]:{port}" if ":" in loopback else f"{scheme}://{loopback}:{port}"

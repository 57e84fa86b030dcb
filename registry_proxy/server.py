"""Serving: one listening socket, one event loop, until SIGTERM or SIGINT."""

import socket

import uvicorn

from flox_formats.settings import SettingsInvalid
from registry_proxy.app import build_app
from registry_proxy.endpoints.access_log import AccessLog
from registry_proxy.endpoints.observed import Observed
from registry_proxy.log import Log
from registry_proxy.metrics import Metrics
from registry_proxy.settings import Settings
from registry_proxy.wiring import floxhub_urls, open_registry

_BACKLOG = 2048
_DRAIN_S = 30


async def serve(settings: Settings, log: Log) -> None:
    """Logs `listening` with the URL once connections are taken. Raises SettingsInvalid, StorageFailed."""
    with _listen(*settings.listen) as listening:
        url = _url_of(listening)
        urls = floxhub_urls(settings, url)
        metrics, access_log = Metrics(), AccessLog(log) if settings.access_log else None
        async with open_registry(settings, urls, log, metrics) as registry:
            config = uvicorn.Config(
                Observed(build_app(registry.parts, metrics), metrics.requests, access_log),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_DRAIN_S,
            )
            log.event("listening", url=url, floxhub=urls.base, state_dir=str(settings.state_dir))
            try:
                await uvicorn.Server(config).serve(sockets=[listening])
            finally:
                log.event("stopped")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise SettingsInvalid(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening


def _url_of(listening: socket.socket) -> str:
    """Where this process can ask itself: an address that stands for all of them is reached by the loopback."""
    host, port = listening.getsockname()[:2]
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{loopback}]:{port}" if ":" in loopback else f"http://{loopback}:{port}"

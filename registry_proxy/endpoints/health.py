"""`/healthz`: the process is up. `/readyz`: a real lookup works. `/metrics`: numbers for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from registry_proxy.repositories.empty import EmptyImages


async def healthz(request: Request) -> Response:
    return PlainTextResponse("ok\n")


class Readyz:
    """Ready once the generic image can be served and the state directory was opened, which wiring has done."""

    def __init__(self, empty: EmptyImages) -> None:
        self._empty = empty

    async def __call__(self, request: Request) -> Response:
        self._empty.manifest("latest")
        return PlainTextResponse("ready\n")


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def __call__(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

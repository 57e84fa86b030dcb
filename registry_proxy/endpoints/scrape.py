"""`/metrics`: what the registry counts of itself, for Prometheus."""

from starlette.requests import Request
from starlette.responses import Response

from registry_proxy.metrics import Metrics


class Scrape:
    """GET. In the event loop, to which the numbers belong; it takes a millisecond or two."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, request: Request) -> Response:
        data, content_type = self._metrics.exposition(request.headers.get("accept", ""))
        return Response(data, headers={"Content-Type": content_type})

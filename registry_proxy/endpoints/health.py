"""`/healthz`: the process is up. `/readyz`: the state directory can be written to and read.

FloxHub is asked by neither (docs/decisions.md).
"""

import asyncio

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from registry_proxy.content.store import ContentStore
from registry_proxy.errors import Draining
from registry_proxy.images.empty_layer import empty_layer


async def healthz(request: Request) -> Response:
    return PlainTextResponse("ok\n")


class Readyz:
    """Ready when the content store takes and has the layer of every image. Raises StorageFailed otherwise, and Draining
    once it is about to stop."""

    def __init__(self, store: ContentStore, stopping: asyncio.Event) -> None:
        self._store, self._stopping = store, stopping

    async def __call__(self, request: Request) -> Response:
        if self._stopping.is_set():
            raise Draining("this registry is about to stop: ask another replica")
        await anyio.to_thread.run_sync(self._store.keep, empty_layer().data)
        return PlainTextResponse("ready\n")

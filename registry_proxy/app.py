"""The routes of the registry, and the one place where an error becomes an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from registry_proxy.content.store import ContentStore
from registry_proxy.endpoints.answers import (
    API_VERSION,
    CHALLENGE,
    READING,
    answer_error,
    answer_http_exception,
    answer_unforeseen,
    is_mirror_traffic,
)
from registry_proxy.endpoints.blobs import Blobs
from registry_proxy.endpoints.callers import Callers
from registry_proxy.endpoints.exchange import exchange_of
from registry_proxy.endpoints.fresh_tags import FreshTags
from registry_proxy.endpoints.health import Readyz, healthz
from registry_proxy.endpoints.manifests import Manifests
from registry_proxy.endpoints.referrers import Referrers
from registry_proxy.endpoints.scrape import Scrape
from registry_proxy.endpoints.tags import Tags
from registry_proxy.errors import MethodUnsupported, RegistryError, UploadUnknown
from registry_proxy.metrics import Metrics
from registry_proxy.repositories.empty import EmptyImages
from registry_proxy.repositories.environments import EnvironmentImages

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes need. `hub` is an embedded FloxHub, served below /git."""

    empty: EmptyImages
    environments: EnvironmentImages
    store: ContentStore
    callers: Callers
    hub: ASGIApp | None


def build_app(parts: Parts, metrics: Metrics, stopping: asyncio.Event) -> ASGIApp:
    routes: list[BaseRoute] = [
        _route("/v2/", "version", _version),
        _route("/v2", "version", _version),
        _route(
            "/v2/{name:path}/manifests/{reference}",
            "manifests",
            Manifests(parts.empty, parts.environments, parts.callers),
        ),
        _route("/v2/{name:path}/blobs/{digest}", "blobs", Blobs(parts.empty, parts.environments, parts.callers)),
        _route("/v2/{name:path}/tags/list", "tags", Tags(parts.environments, parts.callers)),
        _route("/v2/{name:path}/referrers/{digest}", "referrers", Referrers(parts.environments, parts.callers)),
        _route("/v2/{name:path}/blobs/uploads/{rest:path}", "uploads", _no_upload),
        _route("/healthz", "healthz", healthz),
        _route("/readyz", "readyz", Readyz(parts.store, stopping)),
        _route("/metrics", "metrics", Scrape(metrics)),
    ]
    if parts.hub is not None:
        routes.append(Route("/git/{rest:path}", _Hub(parts.hub)))
    app = Starlette(
        routes=routes,
        exception_handlers={
            RegistryError: answer_error,
            HTTPException: answer_http_exception,
            Exception: answer_unforeseen,
        },
    )
    app.router.redirect_slashes = False  # a name with a slash at its end is another name, and unknown
    return FreshTags(app, parts.environments, parts.callers)


def _route(path: str, name: str, endpoint: Endpoint) -> Route:
    return Route(path, _ReadOnly(name, endpoint))


@dataclass(frozen=True, slots=True)
class _ReadOnly:
    """One route. An ASGI app and no function, so that Starlette leaves every method to it."""

    name: str
    """The word under which its requests are counted."""
    endpoint: Endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange_of(scope).route = self.name
        request = Request(scope, receive, send)
        answer = self.endpoint if request.method in READING else _refuse_write
        response = await answer(request)
        await response(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Hub:
    """An embedded FloxHub, whose paths are whole ones. What it refuses is in git's words, not in OCI's."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange_of(scope).route = "git"
        await self.app(scope, receive, send)


async def _version(request: Request) -> Response:
    """Open to everyone, and with a challenge all the same: skopeo, podman and CRI-O look for one here and nowhere else.
    Who has no credentials goes on without.
    """
    challenge = {} if is_mirror_traffic(request) else {"WWW-Authenticate": CHALLENGE}
    return JSONResponse({}, headers={**API_VERSION, **challenge})


async def _no_upload(request: Request) -> Response:
    raise UploadUnknown("no upload is ever under way here: this registry is read-only")


async def _refuse_write(request: Request) -> Response:
    raise MethodUnsupported(
        f"{request.method} is not supported: this registry is read-only; environments change on FloxHub (flox push)"
    )

"""The routes of the registry, and the one place where an error becomes an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from registry_proxy.content.store import ContentStore
from registry_proxy.endpoints.answers import (
    API_VERSION,
    CHALLENGE,
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
from registry_proxy.errors import MethodUnsupported, RegistryError
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
        _route("/v2/{name:path}/blobs/uploads/{rest:path}", "uploads", _refuse_write),
        _route("/healthz", "healthz", healthz),
        _route("/readyz", "readyz", Readyz(parts.store, stopping)),
        _route("/metrics", "metrics", Scrape(metrics)),
    ]
    if parts.hub is not None:
        routes.append(Mount("/", _named_hub(parts.hub)))
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
    """`name` is the word under which its requests are counted."""

    async def read_only(request: Request) -> Response:
        exchange_of(request.scope).route = name
        if request.method not in ("GET", "HEAD"):
            return await _refuse_write(request)
        return await endpoint(request)

    return Route(path, read_only, methods=["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"])


def _named_hub(hub: ASGIApp) -> ASGIApp:
    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/git/"):
            exchange_of(scope).route = "git"
        await hub(scope, receive, send)

    return named


async def _version(request: Request) -> Response:
    """Open to everyone, and with a challenge all the same: skopeo, podman and CRI-O look for one here and nowhere else.
    Who has no credentials goes on without.
    """
    challenge = {} if is_mirror_traffic(request) else {"WWW-Authenticate": CHALLENGE}
    return JSONResponse({}, headers={**API_VERSION, **challenge})


async def _refuse_write(request: Request) -> Response:
    raise MethodUnsupported(
        f"{request.method} is not supported: this registry is read-only; environments change on FloxHub (flox push)"
    )

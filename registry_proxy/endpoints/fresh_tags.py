"""The road that most requests take: a tag whose answer is fresh, asked plainly. No routing, no task switch, no waiting.

Belongs here: deciding that a request is such a one, and its answer's bytes. Everything else goes on to the app, which
also answers these if this is taken away: what is different is the time, and a test compares the answers.
"""

from collections import OrderedDict
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from registry_proxy.endpoints.answers import API_VERSION, NOT_SHARED
from registry_proxy.endpoints.callers import Callers
from registry_proxy.endpoints.exchange import exchange_of
from registry_proxy.errors import RegistryError
from registry_proxy.floxhub.credential import View
from registry_proxy.images.content import Content
from registry_proxy.images.reference import EnvironmentRepository, LiveTag, parse_repository, parse_tag
from registry_proxy.repositories.environments import EnvironmentImages, TaggedIndex
from registry_proxy.whole_answer import WHOLE, Header, head_lines

_PREFIX, _MIDDLE = "/v2/", "/manifests/"
_PLAIN_QUERIES = (b"", b"ns=docker.io")
_NOT_PLAIN = frozenset((b"authorization", b"if-none-match"))
_MAX_PATHS = 10_000


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The parts of an answer that do not change, for one index."""

    index: Content
    headers: list[Header]
    head: bytes


class FreshTags:
    """Wraps `app`."""

    def __init__(self, app: ASGIApp, environments: EnvironmentImages, callers: Callers) -> None:
        self._app, self._environments, self._callers = app, environments, callers
        self._repositories: OrderedDict[str, EnvironmentRepository | None] = OrderedDict()
        self._views: OrderedDict[str, View] = OrderedDict()
        self._prepared: OrderedDict[str, _Prepared] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._fresh(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        exchange, resolution = exchange_of(scope), found.resolution
        exchange.route, exchange.environment = "manifests", found.index.environment
        exchange.generation, exchange.outcome = found.index.number, resolution.outcome
        prepared, body = self._prepare(scope["path"], found.index.content), found.index.content.data
        changing = [(b"floxbridge-resolution", resolution.outcome.encode()), (b"age", b"%d" % resolution.age_s)]
        if WHOLE in scope.get("extensions", ()):
            await send({"type": WHOLE, "status": 200, "head": prepared.head, "headers": changing, "body": body})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [*prepared.headers, *changing]})
        await send({"type": "http.response.body", "body": body})

    def _fresh(self, scope: Scope) -> TaggedIndex | None:
        if scope["method"] not in ("GET", "HEAD") or scope["query_string"] not in _PLAIN_QUERIES:
            return None
        if b"%" in scope["raw_path"]:
            return None
        for name, _ in scope["headers"]:
            if name in _NOT_PLAIN:
                return None
        view = self._view(scope["path"])
        return None if view is None else self._environments.fresh_index(view)

    def _view(self, path: str) -> View | None:
        """What `path` asks for, as the registry's own credential sees it, which seldom is another one."""
        credential, view = self._callers.unnamed_at_hand(), self._views.get(path)
        if credential is None or (view is not None and view.credential is credential):
            return view if credential is not None else None
        repository = self._repository(path)
        if repository is None:
            return None
        view = self._views[path] = View(repository.environment, credential)
        if len(self._views) > _MAX_PATHS:
            self._views.popitem(last=False)
        return view

    def _repository(self, path: str) -> EnvironmentRepository | None:
        """The environment whose live tag `path` asks for; None for any other path."""
        try:
            return self._repositories[path]
        except KeyError:
            found = self._repositories[path] = _live_repository(path)
            if len(self._repositories) > _MAX_PATHS:
                self._repositories.popitem(last=False)
            return found

    def _prepare(self, path: str, index: Content) -> _Prepared:
        prepared = self._prepared.get(path)
        if prepared is None or prepared.index is not index:
            headers = _unchanging_headers(index)
            prepared = self._prepared[path] = _Prepared(index, headers, head_lines(headers))
            if len(self._prepared) > _MAX_PATHS:
                self._prepared.popitem(last=False)
        return prepared


def _live_repository(path: str) -> EnvironmentRepository | None:
    name, middle, reference = path.removeprefix(_PREFIX).rpartition(_MIDDLE)
    try:
        if not middle or not path.startswith(_PREFIX) or not isinstance(parse_tag(reference), LiveTag):
            return None
        repository = parse_repository(name)
    except RegistryError:
        return None
    return repository if isinstance(repository, EnvironmentRepository) else None


def _unchanging_headers(index: Content) -> list[Header]:
    named = {
        **API_VERSION,
        "Docker-Content-Digest": str(index.digest),
        "ETag": f'"{index.digest}"',
        "Content-Length": str(len(index.data)),
        "Content-Type": index.media_type,
        **NOT_SHARED,
    }
    return [(name.lower().encode(), value.encode()) for name, value in named.items()]

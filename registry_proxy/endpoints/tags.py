"""`/v2/<name>/tags/list`, with `n` and `last`."""

from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry_proxy.endpoints.answers import API_VERSION, of_environment
from registry_proxy.endpoints.callers import Callers
from registry_proxy.endpoints.paths import asked_repository
from registry_proxy.errors import ParameterInvalid
from registry_proxy.floxhub.credential import View
from registry_proxy.images.reference import EmptyRepository, Repository
from registry_proxy.repositories.empty import TAGS
from registry_proxy.repositories.environments import EnvironmentImages

_MAX_PAGE = 10_000
"""Tags. Who asks for more gets so many, and a link to the rest."""


class Tags:
    """GET."""

    def __init__(self, environments: EnvironmentImages, callers: Callers) -> None:
        self._environments, self._callers = environments, callers

    async def __call__(self, request: Request) -> Response:
        repository = asked_repository(request)
        if isinstance(repository, EmptyRepository):
            return _answer(request, repository, TAGS)
        view = View(repository.environment, await self._callers.credential(request))
        shown = await self._environments.tags(view)
        return of_environment(request, _answer(request, repository, shown.content), shown.resolution)


def _answer(request: Request, repository: Repository, tags: Sequence[str]) -> Response:
    page, rest_after = _page(tags, request.query_params)
    headers = dict(API_VERSION)
    if rest_after is not None:
        headers["Link"] = f'</v2/{repository}/tags/list?{rest_after}>; rel="next"'
    return JSONResponse({"name": str(repository), "tags": page}, headers=headers)


def _page(tags: Sequence[str], asked: QueryParams) -> tuple[list[str], str | None]:
    """The tags after `last`, `n` of them at most; and the query for those that come after, if any do.

    `ns` says whose mirror we are, and is kept: the next page is for the same client.
    """
    rest = [tag for tag in tags if tag > asked.get("last", "")]
    count = asked.get("n")
    if count is None:
        return rest, None
    if not count.isascii() or not count.isdecimal():
        raise ParameterInvalid(f"n={count[:20]!r}: want a number of tags, zero or more")
    size = min(int(count.lstrip("0")[:9] or "0"), _MAX_PAGE)
    page = rest[:size]
    if not page or len(rest) == len(page):
        return page, None
    mirror = {"ns": asked["ns"]} if "ns" in asked else {}
    return page, urlencode({"n": size, "last": page[-1], **mirror})

"""`/v2/<name>/tags/list`, with `n` and `last`."""

from collections.abc import Sequence

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
    page, more = _page(tags, request)
    headers = dict(API_VERSION)
    if more and page:
        count = request.query_params["n"]
        headers["Link"] = f'</v2/{repository}/tags/list?n={count}&last={page[-1]}>; rel="next"'
    return JSONResponse({"name": str(repository), "tags": page}, headers=headers)


def _page(tags: Sequence[str], request: Request) -> tuple[list[str], bool]:
    """The tags after `last`, `n` of them at most; and whether there are more."""
    last = request.query_params.get("last", "")
    rest = [tag for tag in tags if tag > last]
    count = request.query_params.get("n")
    if count is None:
        return rest, False
    if not count.isascii() or not count.isdecimal() or len(count) > 6:
        raise ParameterInvalid(f"n={count[:20]!r}: want a number of tags from 0 to {_MAX_PAGE}")
    size = min(int(count), _MAX_PAGE)
    return rest[:size], len(rest) > size

"""`/v2/<name>/referrers/<digest>`, with `artifactType`."""

import re

from starlette.requests import Request
from starlette.responses import Response

from registry_proxy.endpoints.answers import API_VERSION, of_environment
from registry_proxy.endpoints.callers import Callers
from registry_proxy.endpoints.paths import asked_repository
from registry_proxy.floxhub.credential import View
from registry_proxy.images.content import INDEX, Content
from registry_proxy.images.reference import EmptyRepository, parse_digest
from registry_proxy.repositories.environments import EnvironmentImages
from registry_proxy.repositories.index_referrers import Listing

_MAX_WARNING = 1_000
_UNQUOTABLE = re.compile(r"[\x00-\x1f\x7f]")


class Referrers:
    """GET. A digest that nobody refers to has an empty list, one that nobody knows too: the specification wants it."""

    def __init__(self, environments: EnvironmentImages, callers: Callers) -> None:
        self._environments, self._callers = environments, callers

    async def __call__(self, request: Request) -> Response:
        repository = asked_repository(request)
        digest = parse_digest(request.path_params["digest"])
        wanted = _artifact_type(request)
        if digest is None or isinstance(repository, EmptyRepository):
            return _answer(Listing(), wanted)
        view = View(repository.environment, await self._callers.credential(request))
        shown = await self._environments.referrers(view, digest, wanted)
        return of_environment(request, _answer(shown.content, wanted), shown.resolution)


def _answer(listing: Listing, wanted: str | None) -> Response:
    found = [it for it in listing.descriptors if wanted in (None, it.get("artifactType"))]
    index = Content.of_json(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": found})
    answer = Response(index.data, headers=API_VERSION, media_type=INDEX)
    if wanted is not None:
        answer.headers["OCI-Filters-Applied"] = "artifactType"
    for warning in listing.warnings:
        answer.headers.append("Warning", f'299 - "{_quotable(warning)}"')
    return answer


def _artifact_type(request: Request) -> str | None:
    """A media type has no spaces: one stands for a plus that its client left as it was, and a query reads so."""
    wanted = request.query_params.get("artifactType")
    return None if wanted is None else wanted.replace(" ", "+")


def _quotable(sentence: str) -> str:
    """What may stand between quotes in a header. Clients show it to their users, as the specification asks them to."""
    plain = sentence[:_MAX_WARNING].encode("ascii", "replace").decode()
    return _UNQUOTABLE.sub(" ", plain).replace("\\", "/").replace('"', "'")

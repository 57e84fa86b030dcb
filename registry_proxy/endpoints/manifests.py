"""`/v2/<name>/manifests/<tag or digest>`."""

from starlette.requests import Request
from starlette.responses import Response

from flox_formats.digest import Digest
from registry_proxy.endpoints.answers import answer_content, of_environment
from registry_proxy.endpoints.callers import Callers
from registry_proxy.endpoints.exchange import exchange_of
from registry_proxy.endpoints.paths import asked_repository
from registry_proxy.floxhub.credential import View
from registry_proxy.images.reference import EmptyRepository, parse_reference, parse_tag
from registry_proxy.repositories.empty import EmptyImages
from registry_proxy.repositories.environments import EnvironmentImages


class Manifests:
    """GET and HEAD."""

    def __init__(self, empty: EmptyImages, environments: EnvironmentImages, callers: Callers) -> None:
        self._empty, self._environments, self._callers = empty, environments, callers

    async def __call__(self, request: Request) -> Response:
        repository = asked_repository(request)
        reference = parse_reference(request.path_params["reference"])
        if isinstance(repository, EmptyRepository):
            return answer_content(request, self._empty.manifest(reference))
        view = View(repository.environment, await self._callers.credential(request))
        if isinstance(reference, Digest):
            shown = await self._environments.manifest(view, reference)
            return of_environment(request, answer_content(request, shown.content), shown.resolution)
        tagged = await self._environments.tagged_index(view, parse_tag(reference))
        exchange_of(request.scope).generation = tagged.index.number
        return of_environment(request, answer_content(request, tagged.index.content), tagged.resolution)

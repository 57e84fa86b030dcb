"""`/v2/<name>/manifests/<tag or digest>`."""

from starlette.requests import Request
from starlette.responses import Response

from flox_formats.digest import Digest
from registry_proxy.endpoints.answers import answer_content
from registry_proxy.endpoints.paths import asked_repository
from registry_proxy.floxhub.resolver import Resolution
from registry_proxy.images.reference import EmptyRepository, parse_reference, parse_tag
from registry_proxy.repositories.empty import EmptyImages
from registry_proxy.repositories.environments import EnvironmentImages


class Manifests:
    """GET and HEAD."""

    def __init__(self, empty: EmptyImages, environments: EnvironmentImages) -> None:
        self._empty, self._environments = empty, environments

    async def __call__(self, request: Request) -> Response:
        repository = asked_repository(request)
        reference = parse_reference(request.path_params["reference"])
        if isinstance(repository, EmptyRepository):
            return answer_content(request, self._empty.manifest(reference))
        if isinstance(reference, Digest):
            return answer_content(request, await self._environments.manifest(repository.environment, reference))
        tagged = await self._environments.tagged(repository.environment, parse_tag(reference))
        return answer_content(request, tagged.image.index, resolution_headers(tagged.resolution))


def resolution_headers(resolution: Resolution) -> dict[str, str]:
    """How FloxHub's answer was come by; `Age` is whole seconds, absent where a restart lost the count."""
    headers = {"Floxbridge-Resolution": resolution.outcome.value}
    if resolution.age_s is not None:
        headers["Age"] = str(int(resolution.age_s))
    return headers

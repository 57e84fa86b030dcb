"""`/v2/<name>/referrers/<digest>`, with `artifactType`."""

from starlette.requests import Request
from starlette.responses import Response

from registry_proxy.endpoints.answers import API_VERSION
from registry_proxy.endpoints.callers import Callers
from registry_proxy.endpoints.paths import asked_repository
from registry_proxy.floxhub.credential import View
from registry_proxy.images.content import INDEX, Content
from registry_proxy.images.reference import EmptyRepository, parse_digest
from registry_proxy.repositories.environments import EnvironmentImages


class Referrers:
    """GET. A digest that nobody refers to has an empty list, one that nobody knows too: the specification wants it."""

    def __init__(self, environments: EnvironmentImages, callers: Callers) -> None:
        self._environments, self._callers = environments, callers

    async def __call__(self, request: Request) -> Response:
        repository = asked_repository(request)
        digest = parse_digest(request.path_params["digest"])
        found = list[dict[str, object]]()
        if not isinstance(repository, EmptyRepository):
            view = View(repository.environment, await self._callers.credential(request))
            found = await self._environments.referrers(view, digest)
        headers, wanted = dict(API_VERSION), request.query_params.get("artifactType")
        if wanted is not None:
            found = [descriptor for descriptor in found if descriptor.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        index = Content.of_json(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": found})
        return Response(index.data, headers=headers, media_type=INDEX)

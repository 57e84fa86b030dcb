"""What a path names: the repository after `/v2/`, as far as this registry serves it."""

from starlette.requests import Request

from registry_proxy.endpoints.exchange import exchange_of
from registry_proxy.errors import RepositoryUnknown
from registry_proxy.images.reference import EnvironmentRepository, Repository, parse_repository

_MIRRORED = "docker.io"


def asked_repository(request: Request) -> Repository:
    """Raises NameInvalid and RepositoryUnknown.

    A mirror's client says in `ns` whose mirror it takes us for. Only docker.io's `flox/empty` is ours; anything else is
    answered 404 at once, so that the client goes on to the next host without waiting.
    """
    namespace = request.query_params.get("ns", _MIRRORED)
    if namespace != _MIRRORED:
        raise RepositoryUnknown(f"this registry mirrors {_MIRRORED} only, not {namespace[:100]!r}")
    repository = parse_repository(request.path_params["name"])
    if isinstance(repository, EnvironmentRepository):
        exchange_of(request.scope).environment = repository.environment
    return repository

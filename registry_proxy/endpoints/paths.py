"""What a path names: the repository after `/v2/`, as far as this registry serves it."""

from starlette.requests import Request

from registry_proxy.endpoints.exchange import exchange_of
from registry_proxy.errors import NameInvalid, RepositoryUnknown
from registry_proxy.images.reference import EnvironmentRepository, Repository, parse_repository

_MIRRORED = "docker.io"


def asked_repository(request: Request) -> Repository:
    """Raises NameInvalid and RepositoryUnknown.

    A mirror's client says in `ns` whose mirror it takes us for. Only docker.io's `flox/empty` is ours; anything else is
    answered 404 at once, so that the client goes on to the next host without waiting.
    """
    others = [name for name in request.query_params.getlist("ns") if name != _MIRRORED]
    if others:
        raise RepositoryUnknown(f"this registry mirrors {_MIRRORED} only, not {others[0][:100]!r}")
    if b"%2f" in request.scope.get("raw_path", b"").lower():
        raise NameInvalid("a slash that is written %2F is no part of a repository's name, and parts no names: write /")
    repository = parse_repository(request.path_params["name"])
    if isinstance(repository, EnvironmentRepository):
        exchange_of(request.scope).environment = repository.environment
    return repository

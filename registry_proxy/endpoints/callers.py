"""Who calls: the FloxHub token of a request, else the cluster's own, else nobody in particular.

Belongs here: which credentials of a request are meant for FloxHub. Anything else is somebody else's secret, a Docker
Hub password that a mirror attracted, say: it is neither passed on nor a reason to refuse (design section 6).
"""

import base64
from contextlib import suppress
from typing import Protocol

from starlette.requests import Request

from registry_proxy.floxhub.credential import Credential, TokenMalformed, is_floxhub_token

_USERS = ("oauth", "floxhub")


class ClusterCredential(Protocol):
    async def current(self) -> Credential: ...

    def at_hand(self) -> Credential | None: ...


class Callers:
    """Takes a request to the credential with which FloxHub is asked on its behalf."""

    def __init__(self, cluster: ClusterCredential) -> None:
        self._cluster = cluster

    def unnamed_at_hand(self) -> Credential | None:
        """The credential of a request that brings none, where nothing has to be waited for."""
        return self._cluster.at_hand()

    async def credential(self, request: Request) -> Credential:
        token = _token(request.headers.get("authorization", ""))
        if token is not None:
            with suppress(TokenMalformed):  # then it is none of FloxHub's, and nobody's business here
                return Credential.of(token)
        return await self._cluster.current()


def _token(header: str) -> str | None:
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value if is_floxhub_token(value) else None
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return None
    return password if colon and user in _USERS and password else None

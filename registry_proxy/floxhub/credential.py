"""Who asks FloxHub: a token of the caller's, the cluster's own, or nobody in particular.

Belongs here: the value, and what can be read from a token without asking anyone. Does not: where a request or a file
carries one (`endpoints/callers.py`, `cluster_token.py`). Kinds of tokens: FH §1.5.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field

from flox_formats.environment import EnvironmentName
from flox_formats.history import LAST_SECOND

MAX_TOKEN_LENGTH = 8192
_TOKEN = re.compile(r"[\x21-\x7e]+")
_HANDLE = "https://flox.dev/handle"


class TokenMalformed(ValueError):
    """Text that cannot be a token. Never says which text."""


@dataclass(frozen=True, slots=True)
class Credential:
    """`viewer` tells credentials apart in memory and in file names, and gives nothing away of the token."""

    token: str | None = field(repr=False)
    viewer: str

    @classmethod
    def of(cls, token: str) -> "Credential":
        if len(token) > MAX_TOKEN_LENGTH or _TOKEN.fullmatch(token) is None:
            raise TokenMalformed("want a FloxHub token: printable characters without spaces, at most 8192")
        return cls(token, hashlib.blake2b(token.encode(), digest_size=16).hexdigest())


ANONYMOUS = Credential(None, "public")


@dataclass(frozen=True, slots=True)
class View:
    """One environment as one credential sees it: what is learnt through one view is never served through another."""

    environment: EnvironmentName
    credential: Credential

    @property
    def everybodys(self) -> "View":
        """The same environment as it is shown to anyone, with a token and without."""
        return View(self.environment, ANONYMOUS)

    def __str__(self) -> str:
        return str(self.environment)


def expires_at(token: str) -> int | None:
    """When a JWT expires, in Unix seconds; None for an opaque token, which does not say. Nothing is verified."""
    exp = _claims(token).get("exp")
    return exp if type(exp) is int and 0 <= exp <= LAST_SECOND else None


def is_floxhub_token(token: str) -> bool:
    """An access token, or a JWT that names a FloxHub handle or was issued by flox.dev: no other registry's secret."""
    claims = _claims(token)
    issuer = str(claims.get("iss", "")).removesuffix("/")
    return token.startswith("flox_") or _HANDLE in claims or issuer.endswith(".flox.dev")


def _claims(token: str) -> dict[str, object]:
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN_LENGTH:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}

"""Who asks a local FloxHub: the holder of a token, or nobody in particular.

Belongs here: how a git client shows its token (FH §1.4), and what is hidden from whom. Which tokens there are is in
`tokens.py`.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry_proxy.hub.tokens import HubTokens, TokenHolder


@dataclass(frozen=True, slots=True)
class Caller:
    """Nothing is known of an anonymous one, who has no `holder`."""

    holder: TokenHolder | None

    @property
    def is_anonymous(self) -> bool:
        return self.holder is None

    def hidden(self, owner: str, private_names: Iterable[str]) -> frozenset[str]:
        """Those of an owner's private environments that the caller does not see."""
        return frozenset(name for name in private_names if self.holder is None or not self.holder.sees(owner, name))


def read_caller(authorization: Sequence[bytes], tokens: HubTokens | None) -> Caller | None:
    """Takes the `Authorization` headers of a request to their caller; None for one who showed what is not accepted.

    An empty password is no token: Flox sends it when it has none. Blocks for a small file.
    """
    if not authorization:
        return Caller(None)
    password = _password(authorization[0]) if len(authorization) == 1 else None
    if password == "":
        return Caller(None)
    holder = tokens.holder(password) if tokens is not None and password is not None else None
    return Caller(holder) if holder is not None else None


def _password(header: bytes) -> str | None:
    """Any user name will do; FloxHub's client says `oauth`."""
    scheme, _, value = header.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        _, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return password if colon else None

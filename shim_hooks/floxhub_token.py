"""A pod's own FloxHub token: a value that is passed on, and nothing else.

Belongs here: what may be one, and how the registry is shown it. Does not: finding it (`bundle/token_mount.py`). It is
never stored, logged or put into a message.
"""

import base64
import re
from dataclasses import dataclass, field
from typing import Self

MAX_BYTES = 8192
_TOKEN = re.compile(r"[\x21-\x7e]+")


class TokenMalformed(ValueError):
    """Text that cannot be a token. Never says which text."""


@dataclass(frozen=True, slots=True)
class FloxHubToken:
    text: str = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """White space around it does not count: editors leave some."""
        try:
            text = data.strip().decode("ascii")
        except UnicodeDecodeError:
            text = ""
        if len(text) > MAX_BYTES or _TOKEN.fullmatch(text) is None:
            raise TokenMalformed(f"want a FloxHub token: printable characters without spaces, 1 to {MAX_BYTES} of them")
        return cls(text)

    @property
    def authorization(self) -> str:
        """As `Authorization` header: HTTP Basic of user `oauth`, as Flox shows it to FloxHub (FH §1.4)."""
        return "Basic " + base64.b64encode(f"oauth:{self.text}".encode()).decode()

"""URLs of other programs, as settings give them: a place, and what only the program at that place may see.

Belongs here: what such a URL is, and how one looks to people. An error never repeats what may be a password.
Grammar: RFC 3986; of hosts no more than what every HTTP client here takes.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from flox_formats.settings import SettingsInvalid

_WANT = "want http(s)://HOST[:PORT][/PATH]"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NUMBERS = re.compile(r"[0-9.]+")
_BESIDE_THE_PLACE = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
_SECRET = re.compile(r"(?<=//)[^/?#\s]*(?=@)|(?<=[?#])\S+")
_PERHAPS_SECRET = re.compile(r"(?<=//)\S*(?=@)|(?<=[?#])\S+")


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """`place` may be shown: scheme, host, port and path, without a slash at its end. `login` is user and password,
    `query` what came behind a question mark; neither may be."""

    place: str
    login: tuple[str, str] | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SettingsInvalid."""
        parts = _split(text)
        if parts is None or parts.fragment:
            raise SettingsInvalid(f"{_WANT}, got {_PERHAPS_SECRET.sub('***', text)[:200]!r}")
        login = None
        if parts.username is not None:
            login = unquote(parts.username), unquote(parts.password or "")
        return cls(place_of(text).rstrip("/"), login, parts.query)

    @classmethod
    def parse_bare(cls, text: str, *, instead: str) -> Self:
        """A URL that is nothing but a place. `instead` is what its author should do with a password.

        Raises SettingsInvalid.
        """
        url = cls.parse(text)
        if url.login or url.query:
            raise SettingsInvalid(f"{url.place}: no credentials, query or fragment belong in this URL; {instead}")
        return url


def place_of(url: str) -> str:
    """The URL without what may be a secret."""
    return _BESIDE_THE_PLACE.sub("", url)


def shown_url(url: str) -> str:
    """As people see it: that there is a password or a query, and not which. Other texts as they are."""
    return _SECRET.sub("***", url)


def _split(text: str) -> SplitResult | None:
    """None for what is no HTTP URL."""
    if not text.isprintable() or " " in text:
        return None
    try:
        parts = urlsplit(text)
        good_port = parts.port is None or parts.port > 0
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and good_port and _is_host(parts.hostname or "") else None


def _is_host(name: str) -> bool:
    if ":" not in name and not _NUMBERS.fullmatch(name):
        return _NAME.fullmatch(name) is not None
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""`docker.io/hosts.toml`: which hosts containerd asks for an image of docker.io, and in which order.

Belongs here: the file's text, pure. Does not: where it lies and what the hosts answer (`mirror_check.py`).
Source: https://github.com/containerd/containerd/blob/main/docs/hosts.md
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from flox_formats.errors import FormatError

DOCKER_HUB = "https://registry-1.docker.io"
_HUB_TOO = ("docker.io", "index.docker.io", "registry-1.docker.io")
_ALL = frozenset({"pull", "resolve", "push"})
_OWN_TRUST = ("ca", "client", "skip_verify", "header")


class HostsInvalid(FormatError):
    """No TOML, or another shape than that of a hosts.toml."""


@dataclass(frozen=True, slots=True)
class Host:
    """`base_url` is what stands before `/v2/`. `own_trust`: certificates or headers of its own go with the requests."""

    base_url: str
    capabilities: frozenset[str]
    own_trust: bool = False

    @property
    def serves_pulls(self) -> bool:
        """Both a tag's meaning and the bytes; a host that only pulls never learns what a tag means now."""
        return {"pull", "resolve"} <= self.capabilities


@dataclass(frozen=True, slots=True)
class Hosts:
    """In the order in which they are asked; the last one is the upstream."""

    hosts: tuple[Host, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises HostsInvalid."""
        try:
            document: Mapping[str, object] = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as problem:
            raise HostsInvalid(f"hosts.toml is no TOML: {problem}") from problem
        named = document.get("host", {})
        if not isinstance(named, dict):
            raise HostsInvalid("hosts.toml has no table at host")
        server = document.get("server", DOCKER_HUB)
        if not isinstance(server, str):
            raise HostsInvalid("hosts.toml has no text at server")
        upstream = _host(server or DOCKER_HUB, document)
        return cls((*_named(named), upstream))

    @classmethod
    def of_endpoints(cls, endpoints: tuple[str, ...]) -> Self:
        """As old containerds have them in their configuration."""
        return cls((*(_host(endpoint, {}) for endpoint in endpoints), Host(DOCKER_HUB, _ALL)))


def _named(table: Mapping[str, object]) -> Iterator[Host]:
    for url, values in table.items():
        if not isinstance(values, dict):
            raise HostsInvalid(f"hosts.toml has no table at host.{url}")
        yield _host(url, values)


def _host(url: str, values: Mapping[str, object]) -> Host:
    capabilities = values.get("capabilities", None)
    if capabilities is not None and not isinstance(capabilities, list):
        raise HostsInvalid(f"hosts.toml has no list at capabilities of {url}")
    known = _ALL if capabilities is None else frozenset(it for it in capabilities if isinstance(it, str))
    return Host(_base_url(url), known, own_trust=any(key in values for key in _OWN_TRUST))


def _base_url(url: str) -> str:
    whole = url if "://" in url else f"https://{url}"
    try:
        parts = urlsplit(whole)
        parts.port  # noqa: B018 - it is read for its error
    except ValueError as problem:
        raise HostsInvalid(f"hosts.toml names {url!r}, which is no URL: {problem}") from problem
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HostsInvalid(f"hosts.toml names {url!r}; want http://HOST:PORT or https://HOST")
    return DOCKER_HUB if parts.hostname in _HUB_TOO else whole.rstrip("/").removesuffix("/v2")

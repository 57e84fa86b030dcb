"""What somebody wants explained: an image as pods, kubelet and people write it, or a digest alone.

Belongs here: the grammar. Kubelet's `imageID` is `docker.io/flox/empty/acme/web@sha256:…`, older ones begin with
`docker-pullable://`; people write `acme/web`, and copy digests without anything around them.
"""

import re
from dataclasses import dataclass, replace
from typing import Self

from flox_formats.digest import Digest, DigestInvalid
from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from flox_formats.errors import FormatError
from registry_proxy.images.reference import PREFIX

_MAX_LENGTH = 1024
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class AskedImageInvalid(FormatError):
    """Text that is neither an image of ours nor a digest."""


@dataclass(frozen=True, slots=True)
class AskedImage:
    """`environment` is None for a digest alone, and for `flox/empty`, the image without one (`is_empty`).

    With a digest the tag means nothing; `tag` is `live` where none was given.
    """

    environment: EnvironmentName | None
    tag: str
    digest: Digest | None
    is_empty: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises AskedImageInvalid."""
        if len(text) > _MAX_LENGTH:
            raise AskedImageInvalid(f"an image of {len(text)} characters; at most {_MAX_LENGTH} are read")
        try:
            return cls._parse(_SCHEME.sub("", text, count=1), is_bare=_SCHEME.match(text) is None)
        except (DigestInvalid, EnvironmentRefInvalid) as problem:
            raise AskedImageInvalid(f"{text!r}: {problem}") from problem

    @classmethod
    def _parse(cls, text: str, *, is_bare: bool) -> Self:
        if text.startswith("sha256:"):
            return cls(None, "live", Digest.parse(text))
        name, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        repository, tag = _without_tag(name)
        path = _ours(repository)
        if path == PREFIX:
            return cls(None, tag, digest, is_empty=True)
        if path is None and not (is_bare and repository.count("/") == 1):
            raise AskedImageInvalid(f"{text!r} is no image of ours: want {PREFIX}/OWNER/NAME, or OWNER/NAME alone")
        return cls(EnvironmentName.parse((path or repository).removeprefix(f"{PREFIX}/")), tag, digest)

    def of(self, environment: EnvironmentName) -> Self:
        """The same, in an environment that was named elsewhere."""
        return replace(self, environment=environment)

    def __str__(self) -> str:
        name = PREFIX if self.is_empty else f"{PREFIX}/{self.environment}"
        if self.digest is None:
            return f"{name}:{self.tag}"
        return str(self.digest) if self.environment is None and not self.is_empty else f"{name}@{self.digest}"


def _without_tag(name: str) -> tuple[str, str]:
    """The colon of a tag comes after the last slash; any other belongs to a port."""
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, "live"
    if _TAG.fullmatch(tag) is None:
        raise AskedImageInvalid(f"{name!r}: {tag!r} is no tag; want live, latest or a generation number")
    return path, tag


def _ours(repository: str) -> str | None:
    """From `flox/empty` on: what a mirror put before it goes, as does a host. None for another image."""
    if repository.startswith(f"{PREFIX}/") or repository == PREFIX:
        return repository
    _, found, after = repository.partition(f"/{PREFIX}")
    if found and (not after or after.startswith("/")):
        return PREFIX + after
    return None

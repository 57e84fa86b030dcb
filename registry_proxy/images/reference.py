"""Image references: which repository names stand for environments, and what their tags and digests mean.

Belongs here: the grammar of design 4.1. Does not: whether an environment exists.
Upper case is let in although OCI has none: the node's half asks with the exact name of an annotation.
"""

import re
from dataclasses import dataclass

from flox_formats.digest import Digest, DigestForeign, DigestInvalid
from flox_formats.environment import MAX_GENERATION, EnvironmentName, EnvironmentRefInvalid
from registry_proxy.errors import DigestRefused, ManifestUnknown, NameInvalid, RepositoryUnknown

PREFIX = "flox/empty"
_MAX_NAME_LENGTH = 255
MOVING = ("live", "latest")
"""The tags that mean the live generation."""
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_NUMBER = re.compile(r"[1-9][0-9]*")
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class EmptyRepository:
    """`flox/empty`: the image without an environment; the pod's annotation names one."""

    def __str__(self) -> str:
        return PREFIX


@dataclass(frozen=True, slots=True)
class EnvironmentRepository:
    """`flox/empty/<owner>/<name>`: the images of one environment, spelled as they were asked for."""

    environment: EnvironmentName

    def __str__(self) -> str:
        return f"{PREFIX}/{self.environment}"


Repository = EmptyRepository | EnvironmentRepository


@dataclass(frozen=True, slots=True)
class LiveTag:
    """Whatever generation is live when somebody asks."""


@dataclass(frozen=True, slots=True)
class GenerationTag:
    """Generation `number`, at least 1."""

    number: int


Tag = LiveTag | GenerationTag


def parse_repository(name: str) -> Repository:
    """Raises NameInvalid, or RepositoryUnknown for a name that is well formed and not ours."""
    if len(name) > _MAX_NAME_LENGTH:
        raise NameInvalid(f"a repository name of {len(name)} characters; at most {_MAX_NAME_LENGTH} are allowed")
    if name == PREFIX:
        return EmptyRepository()
    if not name.startswith(PREFIX + "/"):
        raise RepositoryUnknown(
            f"no repository {name[:_SHOWN]!r} here: this registry serves {PREFIX} and {PREFIX}/<owner>/<name>"
        )
    try:
        return EnvironmentRepository(EnvironmentName.parse(name[len(PREFIX) + 1 :]))
    except EnvironmentRefInvalid as error:
        raise NameInvalid(f"repository {name[:_SHOWN]!r}: want {PREFIX}/<owner>/<name>: {error}") from error


def parse_reference(text: str) -> Digest | str:
    """What stands after the repository in a manifest's path: a digest, or a tag of OCI's grammar.

    Raises DigestRefused, and ManifestUnknown for a text that can be neither.
    """
    if ":" in text:
        digest = parse_digest(text)
        if digest is None:
            raise ManifestUnknown(f"no manifest {text[:_SHOWN]} here: all are named by sha256")
        return digest
    if _TAG.fullmatch(text) is None:
        raise ManifestUnknown(f"{text[:_SHOWN]!r} is neither a tag nor a digest")
    return text


def parse_digest(text: str) -> Digest | None:
    """None for one of another algorithm: whatever it names is not here. Raises DigestRefused."""
    try:
        return Digest.parse(text)
    except DigestForeign:
        return None
    except DigestInvalid as error:
        raise DigestRefused(str(error)) from error


def parse_tag(text: str) -> Tag:
    """The meaning of a tag in an environment's repository. Raises ManifestUnknown."""
    if text in MOVING:
        return LiveTag()
    if _NUMBER.fullmatch(text) is None or int(text[:12]) > MAX_GENERATION:
        raise ManifestUnknown(
            f"tag {text[:_SHOWN]!r} means nothing here: want live (or latest), or a generation number from 1"
        )
    return GenerationTag(int(text))

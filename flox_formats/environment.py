"""Environment names `owner/name` and references `owner/name:12`, the grammar of the `flox.dev/environment` annotation.

Belongs here: grammar, parsing, printing. Does not: whether OCI can spell the name too (the registry's rule), or whether
the environment exists. Names differ by case. The grammar is the recommended one of FH §2: what the server means to
allow, narrowed to what git takes as a branch.
"""

import re
from dataclasses import dataclass
from typing import Self

from flox_formats.errors import FormatError

MAX_PART_LENGTH = 100
"""Longest owner and longest name. `flox/empty/<owner>/<name>` is then at most 212 characters: within OCI's 255, with
room for the `registry.example.com:5000/` that many clients count in. As a file name, git's `<name>.lock` fits too."""

MAX_GENERATION = 999_999_999
"""Largest generation number that is read anywhere: nine digits, so that no input makes us count or print for long."""

_PART = re.compile(r"[A-Za-z0-9._-]+")
_GENERATION = re.compile(r"[1-9][0-9]{0,8}")


class EnvironmentRefInvalid(FormatError):
    """Text that names no environment."""


@dataclass(frozen=True, slots=True, order=True)
class EnvironmentName:
    """`owner/name`. The name is also the branch of the owner's repository (FH §1.2)."""

    owner: str
    name: str

    def __post_init__(self) -> None:
        for what, part in (("owner", self.owner), ("name", self.name)):
            problem = _problem(part)
            if problem is not None:
                raise EnvironmentRefInvalid(f"{what} {part[: MAX_PART_LENGTH + 1]!r} {problem}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `owner/name`."""
        owner, slash, name = text.partition("/")
        if not slash or "/" in name:
            raise EnvironmentRefInvalid(f"want an environment owner/name, got {_shown(text)}")
        try:
            return cls(owner, name)
        except EnvironmentRefInvalid as problem:
            raise EnvironmentRefInvalid(f"environment {_shown(text)}: {problem}") from None

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True)
class EnvironmentRef:
    """An environment and, if it is pinned, which generation of it; without one the live generation is meant."""

    environment: EnvironmentName
    generation: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `owner/name` or `owner/name:12`."""
        environment, colon, number = text.rpartition(":")
        if not colon:
            return cls(EnvironmentName.parse(text), None)
        if _GENERATION.fullmatch(number) is None:
            raise EnvironmentRefInvalid(
                f"environment {_shown(text)}: want a generation number after the colon, from 1 to {MAX_GENERATION}, "
                f"got {_shown(number)}; leave colon and number out to mean the live generation"
            )
        return cls(EnvironmentName.parse(environment), int(number))

    def __str__(self) -> str:
        return str(self.environment) if self.generation is None else f"{self.environment}:{self.generation}"


def _problem(part: str) -> str | None:
    if not part:
        return "is empty"
    if len(part) > MAX_PART_LENGTH:
        return f"is longer than {MAX_PART_LENGTH} characters"
    if _PART.fullmatch(part) is None:
        return "may hold only letters, digits, '.', '_' and '-'"
    if part[0] in ".-":
        return f"may not begin with {part[0]!r}"
    if ".." in part or part.endswith((".", ".lock")):
        return "may not hold '..' or end with '.' or '.lock': git takes no such branch"
    return None


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 250 else repr(text[:250]) + "…"

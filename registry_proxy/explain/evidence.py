"""What a source knows of a generation: FloxHub, a registry that runs, or the state that one keeps.

Belongs here: the value that all sources give, and how each says what it does not know. Asking is in `from_*.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.history import SWITCH, HistoryEntry
from flox_formats.lockfile import Lockfile
from registry_proxy.errors import RegistryError
from registry_proxy.images.annotations import rfc3339


class NotExplained(RegistryError):
    """Nothing that was asked knows the digest or the image."""

    status, code = 404, "MANIFEST_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of an environment's history. `generation` was live after it, `previous` before; `time` is RFC 3339."""

    time: str
    author: str
    hostname: str
    command: tuple[str, ...] | None
    summary: str
    generation: int
    previous: int | None
    makes_generation: bool

    @classmethod
    def of(cls, entry: HistoryEntry) -> Self:
        return cls(
            rfc3339(entry.timestamp),
            entry.author,
            entry.hostname,
            entry.command,
            entry.summary,
            entry.current_generation,
            entry.previous_generation,
            entry.kind != SWITCH,
        )


@dataclass(frozen=True, slots=True)
class Previous:
    """The generation that was live before this one was made, and its lockfile."""

    number: int
    lockfile: Lockfile


@dataclass(frozen=True, slots=True)
class Evidence:
    """`what` names the thing that was asked about; `index` is the digest of the generation's image.

    `history` is oldest first, and may be only of this generation, or empty. `is_live` None: not known. `others` are
    further images that the asked digest is a part of. `missing` are sentences.
    """

    source: str
    what: str
    environment: EnvironmentName
    generation: int
    created: str | None
    index: Digest | None
    lockfile: Lockfile | None
    is_live: bool | None
    history: tuple[Event, ...] = ()
    previous: Previous | None = None
    others: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default=())

    @property
    def made(self) -> Event | None:
        return made(self.history, self.generation)


def made(history: Iterable[Event], generation: int) -> Event | None:
    """The entry that made a generation."""
    return next((it for it in history if it.makes_generation and it.generation == generation), None)

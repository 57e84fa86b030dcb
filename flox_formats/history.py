"""One entry of an environment's history: who changed what, when, and which generation was live afterwards.

Belongs here: reading an entry, making a new one, and its summary. What entries add up to is in `generations.py`.
Source: FH §3.1. Whatever an entry holds that we do not know is kept and written back.
"""

import re
from dataclasses import dataclass, field
from typing import Self

from flox_formats.environment import MAX_GENERATION
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, Json

SWITCH = "switch_generation"
"""The only kind that makes no generation."""

LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z, in Unix seconds. No later time has a date that everybody can write."""

_NUMBER = re.compile(r"\+?0*([0-9]{1,9})")  # what FloxHub's own reader takes: a plus sign and leading zeros pass
_PLAIN_SUMMARIES = {
    "import": "imported environment",
    "initialize": "initialized new environment",
    "edit": "manually edited the manifest",
}
_TARGET_SUMMARIES = {
    "install": "installed package",
    "uninstall": "uninstalled package",
    "upgrade": "upgraded package",
    "include_upgrade": "upgraded included environment",
}
_EMPTY_MEANS_ALL = {"upgrade": "upgraded all packages", "include_upgrade": "upgraded all included environments"}


@dataclass(frozen=True, slots=True)
class Change:
    """Who makes a change, and how. `command` is an argv; `timestamp` is in Unix seconds, UTC."""

    author: str
    hostname: str
    command: tuple[str, ...]
    timestamp: int


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """`current_generation` was live after it, `previous_generation` before. `document` is the entry as JSON."""

    kind: str
    author: str
    hostname: str
    command: tuple[str, ...] | None
    timestamp: int
    current_generation: int
    previous_generation: int | None
    summary: str
    document: Json = field(repr=False, hash=False)

    @classmethod
    def read(cls, document: Json, *, where: str, error: type[FormatError]) -> Self:
        """Reads an entry of metadata version 2; a wrong one is `error`, naming the place."""
        fields = Fields(document, where=where, error=error)
        kind = fields.text("kind")
        current, previous = _generation(fields, "current_generation"), _generation(fields, "previous_generation")
        if current is None:
            raise fields.refuse("current_generation", "is missing")
        if fields.integer("timestamp") > LAST_SECOND:
            raise fields.refuse("timestamp", "is after the year 9999; it counts seconds")
        return cls(
            kind=kind,
            author=fields.text("author"),
            hostname=fields.text("hostname"),
            command=fields.texts("command") if fields.has("command") else None,
            timestamp=fields.integer("timestamp"),
            current_generation=current,
            previous_generation=previous,
            summary=_summary(document, kind, f"{previous} -> {current}"),
            document=document,
        )

    @property
    def makes_generation(self) -> bool:
        return self.kind != SWITCH


def entry_document(
    change: Change, *, kind: str, current: int, previous: int | None, more: Json | None = None
) -> dict[str, object]:
    """A new entry as Flox writes it: ids are strings, absent things are null, and the program is always `flox`."""
    return {
        "kind": kind,
        **(more or {}),
        "author": change.author,
        "hostname": change.hostname,
        "command": ["flox", *change.command[1:]] if change.command else None,
        "timestamp": change.timestamp,
        "current_generation": str(current),
        "previous_generation": None if previous is None else str(previous),
    }


def generation_number(text: str) -> int | None:
    """The number that an id stands for; None when it is no number from 1 to `MAX_GENERATION`."""
    match = _NUMBER.fullmatch(text)
    return int(match.group(1)) or None if match else None


def _generation(fields: Fields, key: str) -> int | None:
    text = fields.text_or_none(key)
    if text is None:
        return None
    number = generation_number(text)
    if number is None:
        raise fields.refuse(key, f"is {text[:30]!r}, not a generation number from 1 to {MAX_GENERATION}")
    return number


def _summary(document: Json, kind: str, generations: str) -> str:
    """A known kind whose own field is missing or has another type is an unknown kind, as Flox reads it."""
    targets, description, summary = (document.get(key) for key in ("targets", "description", "summary"))
    if kind == SWITCH:
        return f"changed current generation {generations}"
    if kind in _PLAIN_SUMMARIES:
        return _PLAIN_SUMMARIES[kind]
    if kind in _TARGET_SUMMARIES and isinstance(targets, list) and all(isinstance(name, str) for name in targets):
        if not targets and kind in _EMPTY_MEANS_ALL:
            return _EMPTY_MEANS_ALL[kind]
        return (
            _TARGET_SUMMARIES[kind] + ("s " if len(targets) > 1 else " ") + ", ".join(f"'{name}'" for name in targets)
        )
    if kind == "migrate_v1" and isinstance(description, str):
        return f"{description} [metadata migrated]"
    if kind == "other" and isinstance(summary, str):
        return summary
    return f"performed unknown {kind} operation"

"""`metadata.json`: which generations an environment has, and which of them is live.

Belongs here: versions 1 and 2 of the file, the table that its history adds up to, and adding to that history.
One entry of the history is in `history.py`; where the file and the generations' own files lie is the hub's business.
Source: FH §3.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

from flox_formats.environment import MAX_GENERATION
from flox_formats.errors import FormatError
from flox_formats.history import LAST_SECOND, SWITCH, Change, HistoryEntry, entry_document, generation_number
from flox_formats.json_document import Fields, Json, read_object, shown

MAX_BYTES = 16 * 1024 * 1024

_WHAT = "metadata.json"
_NEWER = "a newer Flox may have written it: update floxbridge, or write the environment with a Flox that it knows"


class GenerationsInvalid(FormatError):
    """A `metadata.json` that is not one, or that contradicts itself."""


class MetadataVersionUnsupported(GenerationsInvalid):
    """A version that we have never seen. What it means is not guessed."""


class SwitchImpossible(FormatError):
    """A switch to a generation that does not exist, or that is live already."""


@dataclass(frozen=True, slots=True)
class Generation:
    """`created` and `last_live` are Unix seconds; `last_live` is None while it is live. `parent` was live before it."""

    number: int
    parent: int | None
    created: int
    last_live: int | None
    description: str


@dataclass(frozen=True, slots=True)
class Generations:
    """What happened, oldest first. Make one with `parse` or `empty`: they derive the table."""

    history: tuple[HistoryEntry, ...]
    generations: Mapping[int, Generation] = field(hash=False)
    total: int
    _other: Json = field(repr=False, hash=False)

    @classmethod
    def empty(cls) -> Self:
        """Of an environment that was only initialised."""
        return cls._of((), 0, {})

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads version 1 or 2; version 1 is migrated as Flox would, and is version 2 when written back."""
        document = read_object(data, what=_WHAT, max_bytes=MAX_BYTES, error=GenerationsInvalid)
        version = document.get("version", 1)
        if type(version) is not int or version not in (1, 2):  # True and 1.0 are equal to 1, and not the number 1
            raise MetadataVersionUnsupported(
                f"{_WHAT}: version {shown(version)} is not supported, only 1 and 2 are; {_NEWER}"
            )
        fields = Fields(document, where=_WHAT, error=GenerationsInvalid)
        return cls._parse_v1(fields) if version == 1 else cls._parse_v2(document, fields)

    @property
    def live(self) -> int | None:
        """The generation that a moving tag means. None while there is no history."""
        return self.history[-1].current_generation if self.history else None

    def with_generation(self, change: Change, *, kind: str, more: Json | None = None) -> Self:
        """One generation more, live from now on. `more` is the field of the kind, as `targets` for `install`."""
        number = max(self.total, *self.generations, 0) + 1
        if number > MAX_GENERATION:
            raise GenerationsInvalid(f"{_WHAT}: has {self.total} generations and can take no more")
        return self._and(entry_document(change, kind=kind, current=number, previous=self.live, more=more), number)

    def with_switch(self, change: Change, number: int) -> Self:
        """Generation `number` is live from now on. Raises SwitchImpossible."""
        if number not in self.generations:
            known = ", ".join(map(str, sorted(self.generations)[-20:])) or "none"
            raise SwitchImpossible(f"generation {number} does not exist; there are: {known}")
        if number == self.live:
            raise SwitchImpossible(f"generation {number} is live already")
        return self._and(entry_document(change, kind=SWITCH, current=number, previous=self.live), self.total)

    def to_bytes(self) -> bytes:
        """Version 2 on one line, as Flox writes it, with every field that was read and not understood."""
        history = [entry.document for entry in self.history]
        document = {**self._other, "version": 2, "history": history, "total_generations": self.total}
        try:
            return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except RecursionError:
            raise GenerationsInvalid(f"{_WHAT}: nested too deeply") from None

    def _and(self, document: Json, total: int) -> Self:
        entry = HistoryEntry.read(document, where="the new entry", error=GenerationsInvalid)
        return self._of((*self.history, entry), total, self._other)

    @classmethod
    def _of(cls, history: tuple[HistoryEntry, ...], total: int, other: Json) -> Self:
        return cls(history, MappingProxyType(_replay(history)), total, other)

    @classmethod
    def _parse_v2(cls, document: Json, fields: Fields) -> Self:
        entries = fields.get("history")
        if not isinstance(entries, list):
            raise fields.refuse("history", "is not an array; the file says it is of version 2")
        total = fields.integer("total_generations")
        if total > MAX_GENERATION:
            raise fields.refuse("total_generations", f"is more than {MAX_GENERATION}")
        other = {
            key: value for key, value in document.items() if key not in ("version", "history", "total_generations")
        }
        return cls._of(_read_history(entries), total, other)

    @classmethod
    def _parse_v1(cls, fields: Fields) -> Self:
        if not fields.has("generations"):
            raise fields.refuse("generations", "is missing; the file names no version, which means version 1")
        table = {_v1_number(key, fields): entry for key, entry in fields.member("generations").members()}
        gap = next((number for number in range(1, len(table) + 1) if number not in table), None)
        if gap is not None:
            raise fields.refuse("generations", f"has a gap: generation {gap} is missing")
        entries = [_migrated(number, table[number]) for number in sorted(table)]
        live = _v1_live(fields)
        if live not in table:
            raise fields.refuse("currentGen", f"is {live}, and there is no such generation")
        if live != len(table):
            at = table[live].integer("lastActive")
            change = Change("unknown", "unknown", (), at)
            entries.append(entry_document(change, kind=SWITCH, current=live, previous=len(table)))
        return cls._of(_read_history(entries), len(table), {})


def _read_history(entries: Iterable[object]) -> tuple[HistoryEntry, ...]:
    def read(entry: object, where: str) -> HistoryEntry:
        if not isinstance(entry, dict):
            raise GenerationsInvalid(f"{where} is not an object")
        return HistoryEntry.read(entry, where=where, error=GenerationsInvalid)

    return tuple(read(entry, f"{_WHAT}.history[{n}]") for n, entry in enumerate(entries))


def _replay(history: Iterable[HistoryEntry]) -> dict[int, Generation]:
    """The table that the history adds up to, by number (FH §3.1, "Derived table")."""
    table: dict[int, Generation] = {}
    for n, entry in enumerate(history):
        current, previous = entry.current_generation, entry.previous_generation
        if not entry.makes_generation:
            for end, number in (("from", previous), ("to", current)):
                if number not in table:
                    raise GenerationsInvalid(f"{_WHAT}.history[{n}] switches {end} generation {number}, not made yet")
        if previous in table:
            table[previous] = replace(table[previous], last_live=entry.timestamp)
        if entry.makes_generation:
            table[current] = Generation(current, previous, entry.timestamp, None, entry.summary)
        else:
            table[current] = replace(table[current], last_live=None)
    return dict(sorted(table.items()))


def _v1_number(key: str, fields: Fields) -> int:
    number = generation_number(key)
    if number is None:
        raise fields.refuse("generations", f"holds {key[:30]!r}, not a generation number from 1 to {MAX_GENERATION}")
    return number


def _v1_live(fields: Fields) -> int:
    text = fields.text_or_none("currentGen")
    number = generation_number(text) if text is not None else None
    if number is None:
        raise fields.refuse("currentGen", "names no generation: none is live, and the file cannot be migrated")
    return number


def _migrated(number: int, entry: Fields) -> dict[str, object]:
    last_active = entry.integer_or_none("lastActive")
    if last_active is not None and last_active > LAST_SECOND:
        raise entry.refuse("lastActive", "is after the year 9999; it counts seconds")
    return entry_document(
        Change("unknown", "unknown", (), entry.integer("created")),
        kind="migrate_v1",
        more={"description": entry.text("description")},
        current=number,
        previous=number - 1 or None,
    )

"""What may go when the store is too large: the least recently used closure first, and what only it needed.

Belongs here: choosing, as a pure function of what is there and who needs it. Does not: looking (`inventory.py`), doing
(`collector.py`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from shim_hooks.store.closures import RecordKey


@dataclass(frozen=True, slots=True)
class Entry:
    """A store path or a linked environment, in one folder. `since` is when it came, in seconds since the epoch."""

    size: int
    since: float


@dataclass(frozen=True, slots=True)
class UsedClosure:
    """`paths` are those of its document and `environments` those linked from it, by base name.

    `folders` are where they lie, each once or in several, as the beginnings of places.
    """

    key: RecordKey
    last_used: float
    paths: frozenset[str]
    environments: frozenset[str]
    folders: tuple[str, ...] = ("",)

    @property
    def members(self) -> frozenset[str]:
        return self.paths | self.environments

    @property
    def places(self) -> frozenset[str]:
        """All where something of it may lie."""
        return frozenset(f"{folder}{name}" for folder in self.folders for name in self.members)

    def is_in_use(self, kept: Set[str]) -> bool:
        return self.paths <= kept and not self.members.isdisjoint(kept)


@dataclass(frozen=True, slots=True)
class Inventory:
    """`entries` by place, which is the path from the state directory; `closures` may name what is not among them."""

    entries: Mapping[str, Entry]
    closures: tuple[UsedClosure, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries.values())

    def size_of(self, names: Set[str]) -> int:
        """Of all that has one of these base names."""
        return sum(entry.size for place, entry in self.entries.items() if base_name(place) in names)


@dataclass(frozen=True, slots=True)
class Victim:
    """`closure` is the record that goes first, None for what belongs to none; then `entries`, perhaps none, can go.

    They are places.
    """

    closure: RecordKey | None
    entries: tuple[str, ...]
    size: int


def base_name(place: str) -> str:
    return place.rpartition("/")[2]


def victims(inventory: Inventory, kept: Set[str]) -> Iterator[Victim]:
    """In the order of last use. Nothing that is `kept` is among them, nor what a closure needs that comes later.

    What is kept are base names: wherever one lies, it stays. What belongs to no closure, as what is left of a download
    that was given up, is as old as its coming.
    """
    placed = [(closure, closure.places) for closure in inventory.closures]
    needed = Counter(place for _, places in placed for place in places)
    candidates: list[tuple[float, str, tuple[UsedClosure, Set[str]] | None]] = [
        (entry.since, place, None)
        for place, entry in inventory.entries.items()
        if place not in needed and base_name(place) not in kept
    ]
    candidates += [(closure.last_used, str(closure.key), (closure, places)) for closure, places in placed]
    for _, name, whole in sorted(candidates, key=lambda each: each[:2]):
        if whole is None:
            yield Victim(None, (name,), inventory.entries[name].size)
            continue
        closure, places = whole
        if not closure.is_in_use(kept):
            needed.subtract(places)
            free = sorted(
                place
                for place in places
                if not needed[place] and place in inventory.entries and base_name(place) not in kept
            )
            yield Victim(closure.key, tuple(free), sum(inventory.entries[each].size for each in free))

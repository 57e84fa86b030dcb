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
    """A store path or a linked environment. `since` is when it came, in seconds since the epoch."""

    size: int
    since: float


@dataclass(frozen=True, slots=True)
class UsedClosure:
    """`paths` are those of its document and `environments` those linked from it, by base name."""

    key: RecordKey
    last_used: float
    paths: frozenset[str]
    environments: frozenset[str]

    @property
    def members(self) -> frozenset[str]:
        return self.paths | self.environments

    def is_in_use(self, kept: Set[str]) -> bool:
        return self.paths <= kept and not self.members.isdisjoint(kept)


@dataclass(frozen=True, slots=True)
class Inventory:
    """`entries` by base name; `closures` may name what is not among them."""

    entries: Mapping[str, Entry]
    closures: tuple[UsedClosure, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries.values())


@dataclass(frozen=True, slots=True)
class Victim:
    """`closure` is the record that goes first, None for what belongs to none; then `entries`, perhaps none, can go."""

    closure: RecordKey | None
    entries: tuple[str, ...]
    size: int


def victims(inventory: Inventory, kept: Set[str]) -> Iterator[Victim]:
    """In the order of last use. Nothing that is `kept` is among them, nor what a closure needs that comes later.

    What belongs to no closure, as what is left of a download that was given up, is as old as its coming.
    """
    needed = Counter(name for closure in inventory.closures for name in closure.members)
    candidates: list[tuple[float, str, UsedClosure | None]] = [
        (entry.since, name, None)
        for name, entry in inventory.entries.items()
        if name not in needed and name not in kept
    ]
    candidates += [(closure.last_used, str(closure.key), closure) for closure in inventory.closures]
    for _, name, closure in sorted(candidates, key=lambda each: each[:2]):
        if closure is None:
            yield Victim(None, (name,), inventory.entries[name].size)
        elif not closure.is_in_use(kept):
            needed.subtract(closure.members)
            free = sorted(
                member
                for member in closure.members
                if not needed[member] and member in inventory.entries and member not in kept
            )
            yield Victim(closure.key, tuple(free), sum(inventory.entries[each].size for each in free))

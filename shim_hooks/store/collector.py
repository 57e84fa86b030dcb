"""Taking away what the store has no room for, while containers are being created and environments fetched.

Belongs here: how it is done, so that it may be killed at any moment. Does not: what goes first (`garbage.py`), when it
is done (`store_care.py`).

A closure's record goes before its paths, and a path goes by one rename into the staging area: whatever is in the store
is whole. What is deleted there is swept by the next process if this one is killed. Nothing is made before something was
deleted, since the disk may be full.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shim_hooks.store.disk import disk_errors
from shim_hooks.store.garbage import Inventory, Victim, base_name, victims
from shim_hooks.store.inventory import InventoryReader, tree_inodes
from shim_hooks.store.leases import Leases
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.room import Room

_BATCH = 64
"""Entries that are moved while the lock is held: a container being created waits for no more than that."""

_TEMPORARY_S = 3600.0
"""No file takes that long to be written."""

_UNDER_WAY_S = 86400.0
"""No closure takes that long to be fetched, nor an environment to be linked: what is noted of them first stays."""


@dataclass(frozen=True, slots=True)
class Bound:
    """`max_bytes` None is no bound. Of the disk, of its bytes and its inodes, `min_free_percent` shall be free, whoever
    fills it."""

    max_bytes: int | None
    min_free_percent: float

    def excess(self, size: int, room: Room) -> "Excess":
        """What must go."""
        over = 0 if self.max_bytes is None else size - self.max_bytes
        few = int(room.total_bytes * self.min_free_percent / 100) - room.free_bytes
        return Excess(max(0, over, few), max(0, int(room.inodes * self.min_free_percent / 100) - room.free_inodes))


@dataclass(frozen=True, slots=True)
class Excess:
    """Bytes and inodes that are too many; zero where none is."""

    bytes: int
    inodes: int

    def after(self, freed_bytes: int, freed_inodes: int) -> "Excess":
        return Excess(max(0, self.bytes - freed_bytes), max(0, self.inodes - freed_inodes))

    def __bool__(self) -> bool:
        return bool(self.bytes or self.inodes)


@dataclass(frozen=True, slots=True)
class Collected:
    """`size` is the store's afterwards. `excess` bytes and `excess_inodes` could not be freed: the rest is in use."""

    freed: int
    entries: int
    closures: int
    size: int
    excess: int
    excess_inodes: int
    kept: int
    """Bytes that containers use, or are about to use."""


class Collector:
    """Used by one thread at a time, of any number of processes. Raises StoreFailed."""

    def __init__(self, store: NodeStore, leases: Leases, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._leases, self._clock = store, leases, clock
        self._reader = InventoryReader(store.root, store.closures)

    def collect(self, bound: Bound) -> Collected:
        """Until `bound` is kept, or everything that is left is in use."""
        self._leases.sweep()
        self._store.sweep(temporary_before=self._clock() - _TEMPORARY_S)
        inventory = self._reader.read()
        left = self._excess(bound, inventory)
        gone: list[Victim] = []
        while left:
            batch, inodes = self._take(left)
            if not batch:
                break
            gone += batch
            left = left.after(_size(batch), inodes)
        return self._collected(gone, left)

    def plan(self, bound: Bound) -> Collected:
        """What `collect` would do now."""
        self._reader.read()  # for the first time, which takes long: with the lock held no container can be created
        with self._store.lock.exclusive():
            inventory, kept = self._reader.read(), self._kept()
        left = self._excess(bound, inventory)
        gone: list[Victim] = []
        for victim in victims(inventory, kept):
            if not left:
                break
            gone.append(victim)
            inodes = sum(tree_inodes(self._store.root / place) for place in victim.entries) if left.inodes else 0
            left = left.after(victim.size, inodes)
        return _collected(gone, inventory, kept, left, size=inventory.size - _size(gone))

    def _take(self, excess: Excess) -> tuple[list[Victim], int]:
        """Some victims, gone, and how many inodes they were: one victim after the other where these are too many.

        What must stay is looked at with the lock held, so nobody begins to need it meanwhile.
        """
        gone: list[Victim] = []
        with self._store.taking_away() as taken, self._store.lock.exclusive():
            for victim in victims(self._reader.read(), self._kept()):
                if victim.closure is not None:
                    self._store.closures.drop(victim.closure)
                for place in victim.entries:
                    taken.add(self._store.root / place)
                gone.append(victim)
                if _size(gone) >= excess.bytes or sum(len(each.entries) for each in gone) >= _BATCH:
                    break
        return gone, taken.inodes  # they were removed after the lock was let go

    def _kept(self) -> frozenset[str]:
        # In this order: who lets go of a pin has a lease by then.
        pinned = self._store.pinned()
        return pinned | self._leases.leased()

    def _forget(self, inventory: Inventory) -> None:
        """What was noted of closures and environments that are gone. Of those that are here, nothing."""
        before = self._clock() - _UNDER_WAY_S
        recorded = {closure.key.lockfile for closure in inventory.closures}
        self._store.known_generations.forget(all_but=recorded, before=before)
        self._store.linked.forget(all_but=set(map(base_name, inventory.entries)), before=before)

    def _excess(self, bound: Bound, inventory: Inventory) -> Excess:
        with disk_errors("looking at the disk", self._store.root):
            return bound.excess(inventory.size, Room.look(self._store.store_dir))

    def _collected(self, gone: list[Victim], left: Excess) -> Collected:
        with self._store.lock.exclusive():
            inventory, kept = self._reader.read(), self._kept()
        self._forget(inventory)
        return _collected(gone, inventory, kept, left, size=inventory.size)


def _size(gone: Iterable[Victim]) -> int:
    return sum(victim.size for victim in gone)


def _collected(gone: list[Victim], inventory: Inventory, kept: frozenset[str], left: Excess, *, size: int) -> Collected:
    return Collected(
        freed=_size(gone),
        entries=sum(len(victim.entries) for victim in gone),
        closures=sum(victim.closure is not None for victim in gone),
        size=size,
        excess=left.bytes,
        excess_inodes=left.inodes,
        kept=inventory.size_of(kept),
    )

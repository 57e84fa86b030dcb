"""Taking away what the store has no room for, while containers are being created and environments fetched.

Belongs here: how it is done, so that it may be killed at any moment. Does not: what goes first (`garbage.py`), when it
is done (`store_care.py`).

A closure's record goes before its paths, and a path goes by one rename into the staging area: whatever is in the store
is whole. What is deleted there is swept by the next process if this one is killed.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from shim_hooks.store.disk import disk_errors
from shim_hooks.store.garbage import Inventory, Victim, victims
from shim_hooks.store.inventory import InventoryReader
from shim_hooks.store.leases import Leases
from shim_hooks.store.node_store import NodeStore

_BATCH = 64
"""Entries that are moved while the lock is held: a container being created waits for no more than that."""

_TEMPORARY_S = 3600.0
"""No file takes that long to be written."""

_UNDER_WAY_S = 86400.0
"""No closure takes that long to be fetched, nor an environment to be linked: what is noted of them first stays."""


@dataclass(frozen=True, slots=True)
class Bound:
    """`max_bytes` None is no bound. Of the disk `min_free_percent` shall be free, whoever fills it."""

    max_bytes: int | None
    min_free_percent: float

    def excess(self, size: int, *, disk_bytes: int, free_bytes: int) -> int:
        """How many bytes must go; zero or less if none."""
        over = 0 if self.max_bytes is None else size - self.max_bytes
        return max(over, int(disk_bytes * self.min_free_percent / 100) - free_bytes)


@dataclass(frozen=True, slots=True)
class Collected:
    """`size` is the store's afterwards. `excess` is what could not be freed: everything else is in use."""

    freed: int
    entries: int
    closures: int
    size: int
    excess: int
    kept: int
    """Bytes that containers use, or are about to use."""


class Collector:
    """Used by one thread at a time, of any number of processes. Raises StoreFailed."""

    def __init__(self, store: NodeStore, leases: Leases, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._leases, self._clock = store, leases, clock
        self._reader = InventoryReader(store.store_dir, store.closures)

    def collect(self, bound: Bound) -> Collected:
        """Until `bound` is kept, or everything that is left is in use."""
        self._leases.sweep()
        self._store.sweep(temporary_before=self._clock() - _TEMPORARY_S)
        inventory = self._reader.read()
        excess = self._excess(bound, inventory)
        gone: list[Victim] = []
        while (left := excess - sum(victim.size for victim in gone)) > 0:
            batch = self._take(left)
            if not batch:
                break
            gone += batch
        return self._collected(gone, excess)

    def plan(self, bound: Bound) -> Collected:
        """What `collect` would do now."""
        with self._store.lock.exclusive():
            inventory, kept = self._reader.read(), self._kept()
        excess = self._excess(bound, inventory)
        gone, freed = [], 0
        for victim in victims(inventory, kept):
            if freed >= excess:
                break
            gone.append(victim)
            freed += victim.size
        return _collected(gone, inventory, kept, excess, size=inventory.size - freed)

    def _take(self, excess: int) -> list[Victim]:
        """Some victims, gone. What must stay is looked at with the lock held, so nobody begins to need it meanwhile."""
        gone: list[Victim] = []
        with self._store.staging() as place, self._store.lock.exclusive():
            for victim in victims(self._reader.read(), self._kept()):
                if victim.closure is not None:
                    self._store.closures.drop(victim.closure)
                for name in victim.entries:
                    self._store.take_away(name, place)
                gone.append(victim)
                if sum(each.size for each in gone) >= excess or sum(len(each.entries) for each in gone) >= _BATCH:
                    break
        return gone  # and deleted by now: leaving the place of staging does that, after the lock was let go

    def _kept(self) -> frozenset[str]:
        # In this order: who lets go of a pin has a lease by then.
        pinned = self._store.pinned()
        return pinned | self._leases.leased()

    def _forget(self, inventory: Inventory) -> None:
        """What was noted of closures and environments that are gone. Of those that are here, nothing."""
        before = self._clock() - _UNDER_WAY_S
        recorded = {closure.key.lockfile for closure in inventory.closures}
        self._store.known_generations.forget(all_but=recorded, before=before)
        self._store.linked.forget(all_but=inventory.entries.keys(), before=before)

    def _excess(self, bound: Bound, inventory: Inventory) -> int:
        with disk_errors("looking at the disk", self._store.root):
            disk = shutil.disk_usage(self._store.store_dir)
        return bound.excess(inventory.size, disk_bytes=disk.total, free_bytes=disk.free)

    def _collected(self, gone: list[Victim], excess: int) -> Collected:
        with self._store.lock.exclusive():
            inventory, kept = self._reader.read(), self._kept()
        self._forget(inventory)
        return _collected(gone, inventory, kept, excess, size=inventory.size)


def _collected(gone: list[Victim], inventory: Inventory, kept: frozenset[str], excess: int, *, size: int) -> Collected:
    freed = sum(victim.size for victim in gone)
    return Collected(
        freed=freed,
        entries=sum(len(victim.entries) for victim in gone),
        closures=sum(victim.closure is not None for victim in gone),
        size=size,
        excess=max(0, excess - freed),
        kept=sum(inventory.entries[name].size for name in kept & inventory.entries.keys()),
    )

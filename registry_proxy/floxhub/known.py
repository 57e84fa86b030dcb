"""What FloxHub told each credential of each environment: the newest of it in memory, over what is on disk.

Belongs here: remembering and forgetting. Does not: how long it is good (`resolver.py`), or the files (`snapshots.py`).
"""

from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import anyio.to_thread

from registry_proxy.errors import RegistryError
from registry_proxy.floxhub.asking import FloxHubAnswer
from registry_proxy.floxhub.credential import View
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.snapshots import Snapshots

_MAX_REMEMBERED = 10_000
_MAX_CHANGES = 100_000
"""In the histories of all that is remembered together; each takes a kilobyte, with the generation that it made."""


@dataclass(slots=True)
class Known:
    """What one credential was told of one environment, as it was asked for. Times are of the resolver's clock.

    An answer is as old as its question: what FloxHub looked at first may have changed when it has sent the last of it.
    `asking_since` is of a question under way.
    """

    snapshot: Snapshot | None = None
    confirmed_at: float = 0.0
    asking_since: float | None = None
    failure: RegistryError | None = None
    failed_at: float = 0.0

    def fail(self, error: RegistryError, at: float) -> None:
        """Remembers a copy, to be copied again when it is raised: an error that was raised holds every frame that it
        came through, with all that was in them, and grows each time."""
        self.failure, self.failed_at = copy(error), at


class KnownViews:
    """Bounded: what was asked for least recently is let go of; it is on disk."""

    def __init__(self, snapshots: Snapshots, *, old_s: float, clock: Callable[[], float]) -> None:
        """What is on disk since a time to come is `old_s` seconds old at least: too old for everything."""
        self._snapshots, self._old_s, self._clock = snapshots, old_s, clock
        self._views: OrderedDict[View, Known] = OrderedDict()
        self._changes = 0

    def at_hand(self, view: View) -> Known | None:
        """As `of`, where the disk need not be looked at."""
        return self._views.get(view)

    async def of(self, view: View) -> Known:
        known = self._views.get(view)
        if known is None:
            latest = await anyio.to_thread.run_sync(self._snapshots.latest, view.environment, view.credential.viewer)
            known = self.entry(view)
            if latest is not None and known.snapshot is None and known.failure is None:
                age_s = max(latest.age_s, self._old_s) if latest.since_a_time_to_come else latest.age_s
                known.confirmed_at = self._clock() - age_s
                self._hold(known, latest.snapshot)
        return known

    def entry(self, view: View) -> Known:
        """What is in memory, or the place for it."""
        known = self._views.setdefault(view, Known())
        self._views.move_to_end(view)
        self._let_go()
        return known

    async def learn(self, answer: FloxHubAnswer, asked: View, at: float) -> None:
        """An environment is shown to everybody, or else to who has the right: what was of the other kind is past."""
        known = self.entry(answer.view)
        if known.snapshot is None or known.confirmed_at <= at:  # else a question asked later was answered sooner
            known.confirmed_at, known.failure = at, None
            self._hold(known, answer.snapshot)
        other = asked if answer.view != asked else asked.everybodys
        past = self._views.get(other)
        if other != answer.view and past is not None and past.snapshot is not None:
            await self.forget(other)

    async def forget(self, view: View) -> None:
        """Under the name that was asked for, and the one that FloxHub spells: either is found after a restart."""
        known = self.entry(view)
        names = {view.environment} | ({known.snapshot.environment} if known.snapshot is not None else set())
        self._hold(known, None)
        for name in names:
            await anyio.to_thread.run_sync(self._snapshots.forget, name, view.credential.viewer)

    async def lost(self, snapshot: Snapshot) -> None:
        """Files of its commit are gone."""
        await anyio.to_thread.run_sync(self._snapshots.lose, snapshot)
        which = (snapshot.environment, snapshot.commit)
        for known in list(self._views.values()):
            if known.snapshot is not None and (known.snapshot.environment, known.snapshot.commit) == which:
                self._hold(known, None)

    def _hold(self, known: Known, snapshot: Snapshot | None) -> None:
        self._changes += _size(snapshot) - _size(known.snapshot)
        known.snapshot = snapshot
        self._let_go()

    def _let_go(self) -> None:
        while len(self._views) > _MAX_REMEMBERED or (self._changes > _MAX_CHANGES and len(self._views) > 1):
            _, past = self._views.popitem(last=False)
            self._changes -= _size(past.snapshot)


def _size(snapshot: Snapshot | None) -> int:
    return len(snapshot.generations.history) if snapshot is not None else 0

"""How long an answer of FloxHub is good, and what is served when FloxHub is silent (the table of design section 6).

Belongs here: freshness, one question in flight per environment, the last known answer. Asking itself blocks and is
in `git.py`; what an answer says is in `snapshot.py`.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar, TypeVarTuple, Unpack

import anyio.to_thread

from flox_formats.environment import EnvironmentName
from registry_proxy.errors import (
    EnvironmentAmbiguous,
    EnvironmentUnknown,
    FloxHubGarbled,
    FloxHubUnavailable,
    RegistryError,
    StorageFailed,
)
from registry_proxy.flights import Flights
from registry_proxy.floxhub.git import FloxHubGit
from registry_proxy.floxhub.git_http import Deadline
from registry_proxy.floxhub.snapshot import Snapshot, Snapshots

T = TypeVar("T")
Args = TypeVarTuple("Args")

_JITTER = 0.25
_TRANSIENT = (FloxHubUnavailable, FloxHubGarbled, StorageFailed)
_MAX_REMEMBERED = 10_000


class Outcome(StrEnum):
    """Where an answer came from."""

    FRESH = "fresh"
    CACHED = "cached"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds. `max_stale_s` None: a last known answer is served however old it is."""

    live_s: float = 2.0
    pinned_s: float = 60.0
    missing_s: float = 2.0
    max_stale_s: float | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """A snapshot, and how many seconds ago FloxHub confirmed it; None when that was before this process began."""

    snapshot: Snapshot
    outcome: Outcome
    age_s: float | None


@dataclass(slots=True)
class _Known:
    """What is remembered of one environment, as it was asked for. Times are of the resolver's clock."""

    snapshot: Snapshot | None = None
    confirmed_at: float | None = None
    failure: RegistryError | None = None
    failed_at: float = 0.0


class Resolver:
    """Answers from memory, then disk, then FloxHub; a question belongs to a task of its own and to no request."""

    def __init__(
        self,
        git: FloxHubGit,
        snapshots: Snapshots,
        *,
        freshness: Freshness,
        lookup_timeout_s: float,
        fetch_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        max_threads: int = 32,
    ) -> None:
        """A caller waits `lookup_timeout_s` at most; a fetch that takes longer goes on, up to `fetch_timeout_s`."""
        self._git, self._snapshots, self._freshness, self._clock = git, snapshots, freshness, clock
        self._lookup_timeout_s, self._fetch_timeout_s = lookup_timeout_s, fetch_timeout_s
        self._known: OrderedDict[EnvironmentName, _Known] = OrderedDict()
        self._flights = Flights[EnvironmentName, Snapshot]("floxhub")
        self._threads = anyio.CapacityLimiter(max_threads)

    async def live(self, environment: EnvironmentName) -> Resolution:
        """Which generation is live. Raises EnvironmentUnknown, FloxHubUnavailable and what Snapshot raises."""
        return self.known(environment, self._freshness.live_s) or await self._ask(environment)

    async def pinned(self, environment: EnvironmentName, number: int) -> Resolution:
        """A snapshot that has generation `number`, or that is fresh enough to say that there is none."""
        known = self.known(environment, self._freshness.pinned_s)
        if known is not None and number in known.snapshot.generations.generations:
            return known
        return self.known(environment, self._freshness.missing_s) or await self._ask(environment)

    async def any(self, environment: EnvironmentName) -> Resolution:
        """Whatever is known; asks only when nothing is. For digests, which mean the same for ever."""
        return await self.last_known(environment) or await self._ask(environment)

    def known(self, environment: EnvironmentName, max_age_s: float) -> Resolution | None:
        """An answer that needs no waiting: fresh, or the last known one just after FloxHub failed to answer."""
        known = self._known.get(environment)
        if known is None or known.snapshot is None:
            return None
        now = self._clock()
        if known.confirmed_at is not None and now - known.confirmed_at < self._jittered(environment, max_age_s):
            return Resolution(known.snapshot, Outcome.CACHED, now - known.confirmed_at)
        if known.failure is not None and now - known.failed_at < _pause_s(known.failure, self._freshness.live_s):
            return self._stale(known)
        return None

    async def last_known(self, environment: EnvironmentName) -> Resolution | None:
        """The last answer, from memory or disk, of any age; None when there never was one."""
        known = await self._remembered(environment)
        return self._stale(known) if known.snapshot is not None else None

    async def aclose(self) -> None:
        """Ends the questions that are still in flight."""
        await self._flights.aclose()

    async def _ask(self, environment: EnvironmentName) -> Resolution:
        known = await self._remembered(environment)
        if known.failure is not None and self._clock() - known.failed_at < self._freshness.missing_s:
            return self._stale_or_raise(known, known.failure)
        try:
            snapshot = await asyncio.wait_for(
                self._flights.join(environment, lambda: self._question(environment)), self._lookup_timeout_s
            )
        except TimeoutError:
            waited = FloxHubUnavailable(
                f"FloxHub did not answer for {environment} within {self._lookup_timeout_s:g} s; asking goes on"
            )
            return self._stale_or_raise(known, waited)
        except _TRANSIENT as error:
            return self._stale_or_raise(known, error)
        return Resolution(snapshot, Outcome.FRESH, 0.0)

    async def _question(self, environment: EnvironmentName) -> Snapshot:
        """Asks FloxHub, and remembers the answer or the failure for whoever comes next."""
        try:
            snapshot = await self._answer(environment)
        except RegistryError as error:
            known = self._entry(environment)
            known.failure, known.failed_at = error, self._clock()
            if not isinstance(error, _TRANSIENT):
                known.snapshot = known.confirmed_at = None
            raise
        known = self._entry(environment)
        known.snapshot, known.confirmed_at, known.failure = snapshot, self._clock(), None
        return snapshot

    async def _answer(self, environment: EnvironmentName) -> Snapshot:
        known = self._entry(environment).snapshot
        if known is None or known.environment == environment:
            with suppress(EnvironmentUnknown):
                return await self._fetch(environment, known)
        exact = await self._spelled(environment)
        return await self._fetch(exact, known if known is not None and known.environment == exact else None)

    async def _fetch(self, exact: EnvironmentName, known: Snapshot | None) -> Snapshot:
        if known is None:
            known = await self._in_thread(self._snapshots.latest, exact)
        return await self._in_thread(self._fetch_blocking, exact, known)

    def _fetch_blocking(self, exact: EnvironmentName, known: Snapshot | None) -> Snapshot:
        folder = self._snapshots.new_folder()
        try:
            commit = self._git.fetch(
                exact,
                known_commit=known.commit if known else None,
                folder=folder,
                deadline=Deadline.after(self._fetch_timeout_s),
            )
            if known is not None and commit == known.commit:
                return known
            return self._snapshots.keep(exact, commit, folder)
        finally:
            self._snapshots.drop(folder)

    async def _spelled(self, asked: EnvironmentName) -> EnvironmentName:
        """OCI names are lower case and FloxHub's are not (design 4.1): the one branch that differs only by case."""
        deadline = Deadline.after(self._fetch_timeout_s)
        names = await self._in_thread(lambda: self._git.branches(asked.owner, deadline=deadline))
        matches = [name for name in names if name.lower() == asked.name.lower()]
        if asked.name in matches or len(matches) == 1:
            return asked if asked.name in matches else EnvironmentName(asked.owner, matches[0])
        if not matches:
            raise EnvironmentUnknown(
                f"FloxHub has no environment {asked}: check the spelling, and that it was pushed (flox push)"
            )
        spelled = " and ".join(f"{asked.owner}/{name}" for name in matches)
        raise EnvironmentAmbiguous(
            f"{asked} may mean {spelled}: an image name cannot tell them apart, "
            "so name the environment with the annotation flox.dev/environment, which is always exact"
        )

    async def _remembered(self, environment: EnvironmentName) -> _Known:
        known = self._entry(environment)
        if known.snapshot is None and known.failure is None:
            known.snapshot = await self._in_thread(self._snapshots.latest, environment)
        return known

    def _entry(self, environment: EnvironmentName) -> _Known:
        known = self._known.setdefault(environment, _Known())
        self._known.move_to_end(environment)
        while len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _stale(self, known: _Known) -> Resolution | None:
        if known.snapshot is None:
            return None
        age_s = None if known.confirmed_at is None else self._clock() - known.confirmed_at
        limit = self._freshness.max_stale_s
        if limit is not None and (age_s is None or age_s > limit):
            return None
        return Resolution(known.snapshot, Outcome.STALE, age_s)

    def _stale_or_raise(self, known: _Known, error: RegistryError) -> Resolution:
        transient = isinstance(error, _TRANSIENT)
        stale = self._stale(known) if transient else None
        if stale is None:
            raise error
        return stale

    def _jittered(self, environment: EnvironmentName, age_s: float) -> float:
        """Up to a quarter less than `age_s`, so that environments asked together do not stay together."""
        return age_s * (1 - _JITTER * random.Random(hash(environment)).random())

    async def _in_thread(self, function: "Callable[[Unpack[Args]], T]", *args: "Unpack[Args]") -> T:
        return await anyio.to_thread.run_sync(function, *args, limiter=self._threads)


def _pause_s(failure: RegistryError, at_least_s: float) -> float:
    """How long FloxHub is left alone after it failed: what it asked for itself, if it did."""
    return max(at_least_s, failure.retry_after_s or 0)

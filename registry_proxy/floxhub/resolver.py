"""How long an answer of FloxHub is good, and what is served when FloxHub is silent (the table of design section 6).

Belongs here: freshness, one question in flight for each environment and credential, the last known answer. A question
itself is `asking.py`'s; what an answer says is `snapshot.py`'s, remembering it `known.py`'s.

Everything is kept for a credential: what was learnt with one is never served to another that has not proved itself.
What FloxHub shows without asking for a token is everybody's.
"""

import asyncio
import random
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from registry_proxy.errors import FloxHubUnavailable, RegistryError
from registry_proxy.flights import Flights
from registry_proxy.floxhub.asking import FloxHubAnswer, is_final
from registry_proxy.floxhub.credential import ANONYMOUS, View
from registry_proxy.floxhub.known import Known, KnownViews
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.snapshots import Snapshots

_JITTER = 0.25
_AHEAD = 0.5
_PROOF_S = 60.0


class Outcome(StrEnum):
    """Where an answer came from."""

    FRESH = "fresh"
    CACHED = "cached"
    STALE = "stale"
    NOT_FOUND = "not_found"
    FAILED = "failed"


class FloxHub(Protocol):
    """Whoever answers a question; `asking.py` has the real one."""

    async def answer(self, view: View, known: Snapshot | None) -> FloxHubAnswer: ...


class ResolverMetrics(Protocol):
    """Told about every answer; `age_s` is of a stale one, where it is known."""

    def resolved(self, outcome: str, age_s: float | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds. `max_stale_s` None: a last known answer which generation is live is served however old it is."""

    live_s: float = 2.0
    pinned_s: float = 60.0
    missing_s: float = 2.0
    max_stale_s: float | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """A snapshot, and how many seconds ago FloxHub confirmed it."""

    snapshot: Snapshot
    outcome: Outcome
    age_s: float


class Resolver:
    """Answers from memory, then disk, then FloxHub; a question belongs to a task of its own and to no request."""

    def __init__(
        self,
        asking: FloxHub | None,
        snapshots: Snapshots,
        *,
        freshness: Freshness,
        lookup_timeout_s: float,
        metrics: ResolverMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A caller waits `lookup_timeout_s` at most; the question goes on. Without `asking` FloxHub is never asked."""
        self._asking, self._freshness, self._clock = asking, freshness, clock
        self._lookup_timeout_s, self._metrics = lookup_timeout_s, metrics
        old_s = max(freshness.live_s, freshness.pinned_s, _PROOF_S)
        self._known = KnownViews(snapshots, old_s=old_s, clock=clock)
        self._flights = Flights[View, Resolution]("floxhub")

    async def live(self, view: View) -> Resolution:
        """Which generation is live. No older than `max_stale_s`. Raises FloxHub's errors and what Snapshot raises."""
        return await self._resolve(view, self._freshness.live_s, self._freshness.max_stale_s)

    async def newest(self, view: View) -> Resolution:
        """The same for a digest, which an answer of any age may have."""
        return await self._resolve(view, self._freshness.live_s)

    async def pinned(self, view: View, number: int) -> Resolution:
        """A snapshot that has generation `number`, or that is fresh enough to say that there is none."""
        found = await self._resolve(view, self._freshness.pinned_s)
        if number in found.snapshot.generations.generations or found.outcome is not Outcome.CACHED:
            return found
        return await self._resolve(view, self._freshness.missing_s)

    async def proved(self, view: View) -> Resolution:
        """Any snapshot, if FloxHub showed the environment to `credential` within the last minute. For digests."""
        return await self._resolve(view, _PROOF_S)

    def fresh(self, view: View) -> Resolution | None:
        """The live answer, where it is so fresh that nothing has to be waited for."""
        known = self._known.at_hand(view)
        resolution = self._cached(view, known, self._freshness.live_s) if known is not None else None
        if resolution is not None:
            self._metrics.resolved(resolution.outcome, None)
        elif view.credential is not ANONYMOUS:
            return self.fresh(view.everybodys)
        return resolution

    async def lost(self, snapshot: Snapshot) -> None:
        """The files of its commit are gone: whoever wants it next has FloxHub asked for them."""
        await self._known.lost(snapshot)

    async def aclose(self) -> None:
        """Ends the questions that are still in flight."""
        await self._flights.aclose()

    async def _resolve(self, view: View, max_age_s: float, max_stale_s: float | None = None) -> Resolution:
        try:
            resolution = await self._everybodys(view, max_age_s, max_stale_s)
            resolution = resolution or await self._through(view, max_age_s, max_stale_s)
        except RegistryError as error:
            self._metrics.resolved(Outcome.NOT_FOUND if is_final(error) else Outcome.FAILED, None)
            raise
        self._metrics.resolved(resolution.outcome, resolution.age_s if resolution.outcome is Outcome.STALE else None)
        return resolution

    async def _everybodys(self, view: View, max_age_s: float, max_stale_s: float | None) -> Resolution | None:
        """What FloxHub shows to everybody, if it does: it is asked for that once, and not by every token that comes.

        It is the same question: FloxHub is shown a token only when it asks for one.
        """
        everybodys = view.everybodys
        if view == everybodys or (await self._known.of(everybodys)).snapshot is None:
            return None
        try:
            return await self._through(everybodys, max_age_s, max_stale_s)
        except RegistryError as error:
            if is_final(error):
                return None
            raise

    async def _through(self, view: View, max_age_s: float, max_stale_s: float | None) -> Resolution:
        known = await self._known.of(view)
        return self._at_hand(view, known, max_age_s, max_stale_s) or await self._ask(view, known, max_stale_s)

    def _at_hand(self, view: View, known: Known, max_age_s: float, max_stale_s: float | None) -> Resolution | None:
        """An answer that needs no waiting: fresh, or the last known one where FloxHub just failed to answer, or where
        others waited in vain for the question that is under way."""
        cached = self._cached(view, known, max_age_s)
        if cached is not None:
            return cached
        if known.failure is not None:
            since_s = self._clock() - known.failed_at
            if is_final(known.failure) and since_s < self._freshness.missing_s:
                raise copy(known.failure)
            if known.snapshot is not None and since_s < self._freshness.live_s:
                return self._stale_or_raise(known, copy(known.failure), max_stale_s)
        since = known.asking_since
        is_slow = since is not None and self._clock() - since >= self._lookup_timeout_s
        return self._stale(known, max_stale_s) if is_slow else None

    def _cached(self, view: View, known: Known, max_age_s: float) -> Resolution | None:
        age_s = self._age_s(known)
        if known.snapshot is None or age_s >= self._jittered_s(max_age_s):
            return None
        if max_age_s == self._freshness.live_s:
            self._refresh_ahead(view, known, age_s)
        return Resolution(known.snapshot, Outcome.CACHED, age_s)

    def _refresh_ahead(self, view: View, known: Known, age_s: float) -> None:
        """Asks while the answer is still good, so that nobody waits where an environment is asked for often.

        The older the answer, the likelier: replicas and environments that were asked together do not stay together.
        """
        asking = self._asking
        ripe = age_s > self._freshness.live_s * random.uniform(_AHEAD, 1)
        if ripe and asking is not None and known.failure is None:
            self._flights.begin(view, lambda: self._question(asking, view))

    async def _ask(self, view: View, known: Known, max_stale_s: float | None) -> Resolution:
        if self._asking is None:
            offline = FloxHubUnavailable(f"{view} is not known here, and FloxHub is not asked (--offline)")
            return self._stale_or_raise(known, offline, max_stale_s)
        asking = self._asking
        question = self._flights.join(view, lambda: self._question(asking, view))
        try:
            return await asyncio.wait_for(question, self._lookup_timeout_s)
        except TimeoutError:
            late = FloxHubUnavailable(
                f"FloxHub did not answer for {view} within {self._lookup_timeout_s:g} s; asking goes on"
            )
            known.fail(late, self._clock())
            return self._stale_or_raise(known, late, max_stale_s)
        except RegistryError as error:
            return self._stale_or_raise(known, error, max_stale_s)

    async def _question(self, asking: FloxHub, view: View) -> Resolution:
        """Asks FloxHub, and remembers the answer or the failure for whoever comes next."""
        began, known = self._clock(), self._known.entry(view)
        known.asking_since = began
        try:
            answer = await asking.answer(view, known.snapshot)
        except RegistryError as error:
            self._known.entry(view).fail(error, self._clock())
            if is_final(error):
                await self._known.forget(view)
            raise
        finally:
            known.asking_since = None
        await self._known.learn(answer, view, began)
        return Resolution(answer.snapshot, Outcome.FRESH, max(0.0, self._clock() - began))

    def _stale_or_raise(self, known: Known, error: RegistryError, max_stale_s: float | None) -> Resolution:
        stale = None if is_final(error) else self._stale(known, max_stale_s)
        if stale is None:
            raise error
        return stale

    def _stale(self, known: Known, max_stale_s: float | None) -> Resolution | None:
        if known.snapshot is None or (max_stale_s is not None and self._age_s(known) > max_stale_s):
            return None
        return Resolution(known.snapshot, Outcome.STALE, self._age_s(known))

    def _age_s(self, known: Known) -> float:
        return max(0.0, self._clock() - known.confirmed_at)

    def _jittered_s(self, age_s: float) -> float:
        """Up to a quarter less, so that environments asked together do not stay together."""
        return age_s * (1 - _JITTER * random.random())

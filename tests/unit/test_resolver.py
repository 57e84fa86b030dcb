"""The table of design section 6, with a clock that is passed in and a FloxHub that is told what to say."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from weakref import ref

import pytest

from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generations
from registry_proxy.errors import EnvironmentPrivate, EnvironmentUnknown, FloxHubUnavailable, RegistryError
from registry_proxy.floxhub.asking import FloxHubAnswer
from registry_proxy.floxhub.credential import ANONYMOUS, Credential, View
from registry_proxy.floxhub.git import CommitFiles
from registry_proxy.floxhub.resolver import Freshness, Outcome, Resolver
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.snapshots import Snapshots
from registry_proxy.wiring import NoMetrics

WEB = EnvironmentName("acme", "web")
PUBLIC = View(WEB, ANONYMOUS)
ALICE, BOB = View(WEB, Credential.of("flox_pat_alice")), View(WEB, Credential.of("flox_pat_bob"))
WAIT_S = 10
LONG_S = 100.0
METADATA = (
    b'{"version":2,"history":[{"kind":"import","author":"a","hostname":"h","timestamp":1,'
    b'"current_generation":"1"}],"total_generations":1}'
)


def snapshot(commit: str) -> Snapshot:
    return Snapshot(WEB, commit, Generations.parse(METADATA), CommitFiles(Path("nowhere"), commit))


class Conversation:
    """What a question holds while it is asked."""


@dataclass
class FloxHub:
    """Answers with `says`, after `go_on` where that is not set; counts how often it was asked, and by whom.

    Where it is `private`, it wants a token; else it shows everybody the same. `asking` tells the last conversation,
    unless it is gone.
    """

    says: str | RegistryError = "c1"
    private: bool = False
    asked: list[View] = field(default_factory=list)
    asking: Callable[[], Conversation | None] = lambda: None
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go_on.set()

    async def answer(self, view: View, known: Snapshot | None) -> FloxHubAnswer:
        conversation = Conversation()
        self.asking = ref(conversation)
        self.asked.append(view)
        self.was_asked.set()
        await self.go_on.wait()
        self.answered.set()
        if isinstance(self.says, RegistryError):
            raise copy(self.says)
        if self.private and view == view.everybodys:
            raise EnvironmentPrivate("who asks?")
        return FloxHubAnswer(snapshot(self.says), view if self.private else view.everybodys)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


Test = Callable[[FloxHub, Resolver, Clock], Awaitable[None]]


def run(
    test: Test, root: Path, *, offline: bool = False, lookup_timeout_s: float = 0.05, **freshness: float | None
) -> None:
    async def with_deadline() -> None:
        hub, clock = FloxHub(), Clock()
        resolver = Resolver(
            None if offline else hub,
            Snapshots(root),
            freshness=Freshness(**freshness),  # type: ignore[arg-type]
            lookup_timeout_s=lookup_timeout_s,
            metrics=NoMetrics(),
            clock=clock,
        )
        try:
            await asyncio.wait_for(test(hub, resolver, clock), WAIT_S)
        finally:
            await resolver.aclose()

    asyncio.run(with_deadline())


def test_a_live_answer_is_good_for_its_time_and_not_longer(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        assert (await resolver.live(PUBLIC)).outcome is Outcome.FRESH
        hub.says = "c2"
        clock.now += 0.9
        cached = await resolver.live(PUBLIC)
        assert (cached.outcome, cached.snapshot.commit, len(hub.asked)) == (Outcome.CACHED, "c1", 1)
        assert cached.age_s == pytest.approx(0.9)
        clock.now += 1.2
        fresh = await resolver.live(PUBLIC)
        assert (fresh.outcome, fresh.snapshot.commit) == (Outcome.FRESH, "c2")

    run(test, tmp_path)


def test_an_answer_that_is_asked_for_often_is_renewed_before_it_is_old(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        await resolver.live(PUBLIC)
        hub.says = "c2"
        clock.now += 1.49  # good still, and old enough for one request in a few to renew it
        for _ in range(100):
            assert resolver.fresh(PUBLIC) is not None
            await asyncio.sleep(0)
        assert len(hub.asked) == 2
        known = resolver.fresh(PUBLIC)
        assert known is not None
        assert known.snapshot.commit == "c2"

    run(test, tmp_path)


def test_what_was_asked_together_does_not_stay_together(tmp_path: Path) -> None:
    """Up to a quarter of its time an answer is good for less, at random; before that it always is."""
    views = [View(EnvironmentName("acme", f"web{number}"), ANONYMOUS) for number in range(200)]

    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        for age_s, outcomes in (
            (0, {Outcome.FRESH}),
            (LONG_S * 0.7, {Outcome.CACHED}),
            (LONG_S * 0.875, {Outcome.CACHED, Outcome.FRESH}),
        ):
            clock.now = 1000.0 + age_s
            assert {(await resolver.pinned(view, 1)).outcome for view in views} == outcomes
        clock.now += LONG_S
        assert {(await resolver.pinned(view, 1)).outcome for view in views} == {Outcome.FRESH}

    run(test, tmp_path, pinned_s=LONG_S)


def test_a_pinned_generation_is_good_for_longer(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        await resolver.pinned(PUBLIC, 1)
        clock.now += 40
        assert (await resolver.pinned(PUBLIC, 1)).outcome is Outcome.CACHED
        assert len(hub.asked) == 1
        await resolver.pinned(PUBLIC, 2)
        assert len(hub.asked) == 2, "a generation that was not there may have come"
        clock.now += 61
        assert (await resolver.pinned(PUBLIC, 1)).outcome is Outcome.FRESH

    run(test, tmp_path)


@pytest.mark.parametrize("failure", [FloxHubUnavailable("HTTP 500"), None], ids=["refuses", "silent"])
def test_the_last_known_answer_stands_while_floxhub_does_not(tmp_path: Path, failure: RegistryError | None) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        await resolver.live(PUBLIC)
        if failure is None:
            hub.go_on.clear()
        else:
            hub.says = failure
        clock.now += 100
        stale = await resolver.live(PUBLIC)
        assert (stale.outcome, stale.age_s) == (Outcome.STALE, 100)
        asked = len(hub.asked)
        await resolver.live(PUBLIC)
        assert len(hub.asked) == asked, "FloxHub has just failed: it is left alone for a moment"
        hub.says = "c2"
        if failure is None:
            hub.answered.clear()
            hub.go_on.set()
            await hub.answered.wait()
        clock.now += 3
        assert (await resolver.live(PUBLIC)).snapshot.commit == "c2"

    run(test, tmp_path)


def test_a_last_known_answer_can_be_too_old(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        await resolver.live(PUBLIC)
        hub.says = FloxHubUnavailable("HTTP 500")
        clock.now += 30
        assert (await resolver.live(PUBLIC)).outcome is Outcome.STALE
        clock.now += 31
        with pytest.raises(FloxHubUnavailable):
            await resolver.live(PUBLIC)
        for old_enough in (resolver.pinned(PUBLIC, 1), resolver.proved(PUBLIC), resolver.newest(PUBLIC)):
            assert (await old_enough).outcome is Outcome.STALE, "what it says does not change with time"

    run(test, tmp_path, max_stale_s=60)


def test_without_a_last_known_answer_every_request_asks(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        hub.says = FloxHubUnavailable("HTTP 500")
        for _ in range(2):
            with pytest.raises(FloxHubUnavailable):
                await resolver.live(PUBLIC)
        hub.says = "c1"
        assert (await resolver.live(PUBLIC)).outcome is Outcome.FRESH

    run(test, tmp_path)


def test_an_answer_is_as_old_as_its_question(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        hub.go_on.clear()
        first = asyncio.create_task(resolver.live(PUBLIC))
        await hub.was_asked.wait()
        clock.now += 30
        hub.go_on.set()
        answer = await first
        assert (answer.outcome, answer.age_s) == (Outcome.FRESH, 30)
        hub.says = "c2"
        assert (await resolver.live(PUBLIC)).snapshot.commit == "c2", "thirty seconds are not fresh"

    run(test, tmp_path, lookup_timeout_s=WAIT_S)


@pytest.mark.parametrize("max_stale_s", [None, 10.0], ids=["however-old", "too-old"])
def test_nobody_waits_anew_for_a_question_that_others_waited_for_in_vain(
    tmp_path: Path, max_stale_s: float | None
) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        await resolver.live(PUBLIC)
        clock.now += 100
        hub.go_on.clear()
        hub.was_asked.clear()
        first = asyncio.create_task(resolver.live(PUBLIC))
        await hub.was_asked.wait()
        clock.now += LONG_S
        for stale in (resolver.pinned(PUBLIC, 1), resolver.proved(PUBLIC)):
            assert (await stale).outcome is Outcome.STALE
        second = asyncio.create_task(resolver.live(PUBLIC))
        if max_stale_s is None:
            assert (await second).outcome is Outcome.STALE
        hub.go_on.set()
        assert ((await first).outcome, len(hub.asked)) == (Outcome.FRESH, 2)
        await second

    run(test, tmp_path, lookup_timeout_s=LONG_S, max_stale_s=max_stale_s)


def test_not_found_is_good_for_a_moment_and_takes_the_last_known_answer_away(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        await resolver.live(PUBLIC)
        hub.says = EnvironmentUnknown("gone")
        clock.now += 3
        for _ in range(3):
            with pytest.raises(EnvironmentUnknown):
                await resolver.live(PUBLIC)
        assert len(hub.asked) == 2
        hub.says = FloxHubUnavailable("HTTP 500")
        clock.now += 3
        with pytest.raises(FloxHubUnavailable):
            await resolver.live(PUBLIC)

    run(test, tmp_path)


def test_a_failure_that_is_remembered_holds_nothing_and_does_not_grow(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        hub.says = EnvironmentUnknown("gone")
        depths = []
        for _ in range(4):
            with pytest.raises(EnvironmentUnknown) as raised:
                await resolver.live(PUBLIC)
            depths.append(len(raised.traceback))
            del raised
        assert (len(hub.asked), len(set(depths[1:]))) == (1, 1)
        gc.collect()
        assert hub.asking() is None, "an error holds the frames that it came through, and all that was in them"

    run(test, tmp_path, missing_s=60)


def test_two_hundred_requests_are_one_question_and_the_first_may_go_away(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        hub.go_on.clear()
        requests = [asyncio.create_task(resolver.live(PUBLIC)) for _ in range(200)]
        await hub.was_asked.wait()
        requests[0].cancel()
        hub.go_on.set()
        results = await asyncio.gather(*requests, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert {result.snapshot.commit for result in results[1:] if not isinstance(result, BaseException)} == {"c1"}
        assert len(hub.asked) == 1

    run(test, tmp_path)


def test_what_one_credential_learnt_is_not_served_to_another(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        hub.private = True
        await resolver.live(ALICE)
        hub.says = FloxHubUnavailable("HTTP 500")
        for other in (BOB, PUBLIC):
            with pytest.raises(FloxHubUnavailable):
                await resolver.proved(other)
        clock.now += 100
        assert (await resolver.proved(ALICE)).outcome is Outcome.STALE

    run(test, tmp_path)


def test_what_everybody_is_shown_is_asked_for_once_whoever_asks(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        assert (await resolver.live(ALICE)).outcome is Outcome.FRESH
        for view in (BOB, PUBLIC, ALICE):
            assert (await resolver.live(view)).outcome is Outcome.CACHED
            assert resolver.fresh(view) is not None
        assert hub.asked == [ALICE]
        hub.says = FloxHubUnavailable("HTTP 500")
        clock.now += 100
        for view in (PUBLIC, BOB):
            assert (await resolver.live(view)).outcome is Outcome.STALE
        assert hub.asked == [ALICE, PUBLIC]

    run(test, tmp_path)


def test_what_becomes_private_is_at_once_nobodys_who_has_no_right(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        for view in (PUBLIC, ALICE):
            await resolver.live(view)
        hub.private = True
        clock.now += 3
        assert (await resolver.live(ALICE)).outcome is Outcome.FRESH
        hub.says = FloxHubUnavailable("HTTP 500")
        clock.now += 3
        for view in (PUBLIC, BOB):
            with pytest.raises(FloxHubUnavailable):
                await resolver.proved(view)
        assert (await resolver.live(ALICE)).outcome is Outcome.STALE

    run(test, tmp_path)


def test_what_becomes_public_is_everybodys(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        hub.private = True
        await resolver.live(ALICE)
        hub.private = False
        clock.now += 3
        await resolver.live(ALICE)
        asked = len(hub.asked)
        for view in (PUBLIC, BOB, ALICE):
            assert (await resolver.live(view)).outcome is Outcome.CACHED
        assert len(hub.asked) == asked

    run(test, tmp_path)


def test_a_proof_lasts_a_minute(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        hub.private = True
        await resolver.proved(ALICE)
        clock.now += 40
        await resolver.proved(ALICE)
        assert len(hub.asked) == 1
        hub.says = EnvironmentUnknown("no longer hers")
        clock.now += 21
        with pytest.raises(EnvironmentUnknown):
            await resolver.proved(ALICE)

    run(test, tmp_path)


def test_a_clock_that_jumps_back_makes_nothing_older_than_new(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        await resolver.live(PUBLIC)
        clock.now -= 500
        assert (await resolver.live(PUBLIC)).age_s == 0
        clock.now += 600
        hub.says = "c2"
        assert (await resolver.live(PUBLIC)).snapshot.commit == "c2"

    run(test, tmp_path)


def test_offline_never_asks(tmp_path: Path) -> None:
    async def test(hub: FloxHub, resolver: Resolver, clock: Clock) -> None:
        with pytest.raises(FloxHubUnavailable, match="--offline"):
            await resolver.live(PUBLIC)
        assert hub.asked == []

    run(test, tmp_path, offline=True)

"""In which order store paths are fetched, by lines of names."""

import asyncio
from collections.abc import Iterable

import pytest

from shim_hooks.environment.turns import Line, Ticket, Turns

pytestmark = pytest.mark.anyio


class Waiting:
    """Names that wait for their turn, which lasts until `end`."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self.began, self._tickets = turns, list[str](), dict[str, Ticket]()
        self._ends, self._tasks = dict[str, asyncio.Event](), dict[str, asyncio.Task[None]]()

    def queue(self, line: Line, names: Iterable[str]) -> None:
        for name in names:
            ticket = self._tickets.get(name)
            if ticket is None:
                ticket = self._tickets[name] = asyncio.get_running_loop().create_future()
                self._ends[name] = asyncio.Event()
                self._tasks[name] = asyncio.create_task(self._take(name))
            self._turns.queue(ticket, line)

    async def end(self, *names: str) -> None:
        await settle()
        for name in names:
            self._ends[name].set()
            await self._tasks[name]
        await settle()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait([self._tasks[name]])
        await settle()

    async def _take(self, name: str) -> None:
        async with self._turns.turn(self._tickets[name]):
            self.began.append(name)
            await self._ends[name].wait()


async def settle() -> None:
    """Whoever can go on has."""
    for _ in range(5):
        await asyncio.sleep(0)


async def in_order(waiting: Waiting, count: int) -> str:
    """How the first ones follow each other, when each turn ends before the next one."""
    await settle()
    for number in range(count):
        await waiting.end(waiting.began[number])
    return " ".join(waiting.began)


@pytest.mark.parametrize(
    ("lines", "order"),
    [
        pytest.param([("a1 a2 a3", False)], "a1 a2 a3", id="one"),
        pytest.param([("a1 a2 a3 a4", False), ("b1", False)], "a1 a2 b1 a3 a4", id="a-short-one-does-not-wait-for-all"),
        pytest.param(
            [("a1 a2 a3 a4", False), ("b1 b2", False), ("c1 c2", False)], "a1 a2 b1 c1 a3 b2 c2 a4", id="three"
        ),
        pytest.param([("a1 a2 a3", True), ("b1 b2 b3", False)], "a1 b1 b2 b3 a2 a3", id="ahead-of-any-container"),
        pytest.param([("a1 a2 a3", True), ("b1 b2", True)], "a1 a2 b1 a3 b2", id="both-ahead"),
    ],
)
async def test_one_at_a_time(lines: list[tuple[str, bool]], order: str) -> None:
    waiting = Waiting(Turns(1))
    for names, ahead in lines:
        waiting.queue(Line(ahead=ahead), names.split(" "))
    assert await in_order(waiting, len(order.split(" "))) == order


@pytest.mark.parametrize(
    ("ahead", "begin"), [pytest.param(False, 4, id="awaited"), pytest.param(True, 2, id="half-of-them-ahead")]
)
async def test_several_at_a_time(ahead: bool, begin: int) -> None:
    waiting = Waiting(Turns(4))
    waiting.queue(Line(ahead=ahead), [f"a{number}" for number in range(9)])
    await settle()
    assert len(waiting.began) == begin
    await waiting.end("a0")
    assert len(waiting.began) == begin + 1


async def test_there_is_room_beside_what_is_ahead() -> None:
    waiting = Waiting(Turns(4))
    waiting.queue(Line(ahead=True), ["a1", "a2", "a3"])
    waiting.queue(Line(), ["b1", "b2", "b3"])
    await settle()
    assert waiting.began == ["a1", "a2", "b1", "b2"]


async def test_a_container_comes_to_wait_for_what_was_ahead() -> None:
    turns, line = Turns(4), Line(ahead=True)
    waiting = Waiting(turns)
    waiting.queue(line, ["a1", "a2", "a3", "a4", "a5"])
    await settle()
    turns.hurry(line)
    await settle()
    assert waiting.began == ["a1", "a2", "a3", "a4"]


async def test_what_several_wait_for_comes_where_it_is_first() -> None:
    waiting = Waiting(Turns(1))
    waiting.queue(Line(ahead=True), ["a1", "a2", "shared", "a3"])
    waiting.queue(Line(), ["shared", "b1"])
    assert await in_order(waiting, 5) == "a1 shared b1 a2 a3"


async def test_who_is_cancelled_is_passed_over() -> None:
    waiting = Waiting(Turns(1))
    waiting.queue(Line(), ["a1", "a2", "a3"])
    await settle()
    await waiting.cancel("a2")
    await waiting.cancel("a1")
    assert waiting.began == ["a1", "a3"]

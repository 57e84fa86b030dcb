"""Work in a thread: its result, its error, and that nobody leaves before it has ended."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from shim_hooks.threads import entered_in_thread, in_thread

pytestmark = pytest.mark.anyio
DEADLINE_S = 20


async def test_result_and_error() -> None:
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_waits_for_the_end(fails: bool) -> None:
    begun, go_on, ended = Event(), Event(), Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(DEADLINE_S)
        ended.set()
        if fails:
            raise ValueError

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, DEADLINE_S)
    task.cancel()
    for _ in range(10):  # turns of the loop, in which it could leave
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_context_is_left_whatever_happens() -> None:
    left = []

    @contextmanager
    def context() -> Iterator[str]:
        try:
            yield "value"
        finally:
            left.append(True)

    async with entered_in_thread(context()) as value:
        assert value == "value"
    with pytest.raises(ValueError):
        async with entered_in_thread(context()):
            raise ValueError
    assert left == [True, True]

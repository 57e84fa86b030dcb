"""Work in the background goes on after its bugs, and tells of them."""

import asyncio
from typing import Any

import pytest

from shim_hooks.background import in_background

pytestmark = pytest.mark.anyio


async def test_a_bug_is_told_and_the_work_begins_again() -> None:
    told, third = list[dict[str, Any]](), asyncio.Event()
    runs = 0
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise RecursionError(f"in run {runs}")
        third.set()
        await asyncio.Event().wait()

    async with in_background(work, again_s=0), asyncio.timeout(20):
        await third.wait()
    assert [str(context["exception"]) for context in told] == ["in run 1", "in run 2"]
    assert "begins again" in told[0]["message"]


async def test_the_end_of_the_context_ends_it() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def short() -> None:
        return

    async with in_background(work, short):
        await began.wait()
    assert ended.is_set()

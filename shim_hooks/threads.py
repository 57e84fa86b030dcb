"""Blocking work in a thread, waited for even by who is cancelled: nothing goes on behind the back of a clean-up.

Belongs here: that one rule. `asyncio.to_thread` forgets the thread when its task is cancelled.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, executor: Executor | None = None) -> T:
    """The result of `work`, or its error. A cancelled caller leaves once the work has ended."""
    running = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # retrieved: the caller is gone
        raise


@asynccontextmanager
async def entered_in_thread(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context whose ends block. It does not learn which error it ends with."""
    value = await in_thread(context.__enter__)
    try:
        yield value
    finally:
        await in_thread(lambda: context.__exit__(None, None, None))

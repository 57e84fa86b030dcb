"""What an agent does beside its requests, for as long as it lives.

Belongs here: that it goes on. A bug in it must not end it unnoticed: a node that sweeps nothing any more fills up.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

Work = Callable[[], Coroutine[Any, Any, None]]
_AGAIN_S = 60.0


@asynccontextmanager
async def in_background(*works: Work, again_s: float = _AGAIN_S) -> AsyncIterator[None]:
    """They run until the context ends. What a bug ends begins again after `again_s`; the loop's handler hears of it.

    What comes to its own end is not begun again.
    """
    tasks = [asyncio.create_task(_run(work, again_s)) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(work: Work, again_s: float) -> None:
    while (bug := await _bug_in(work)) is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"work in the background failed, and begins again in {again_s:.0f} s", "exception": bug}
        )
        await asyncio.sleep(again_s)


async def _bug_in(work: Work) -> BaseException | None:
    """Runs it in a task of its own: what ends that does not end who waits for it."""
    task = asyncio.create_task(work())
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    return None if task.cancelled() else task.exception()

"""The agent's care for its store: collected now and then, and soon after something was fetched or could not be.

Belongs here: when. Does not: what goes (`store/garbage.py`) and how (`store/collector.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from shim_hooks.errors import NodeError
from shim_hooks.log import Log
from shim_hooks.store.collector import Bound, Collected, Collector
from shim_hooks.threads import in_thread


class StoreCare:
    """`collected` hears of every collection, also of one that had nothing to do; `forget` follows it, and may fail."""

    def __init__(
        self,
        collector: Collector,
        bound: Bound,
        log: Log,
        *,
        collected: Callable[[Collected], None] = lambda done: None,
        forget: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._collector, self._bound, self._log, self._tell = collector, bound, log, collected
        self._forget = forget
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """The store has grown, or the disk is full."""
        self._wanted.set()

    async def run(self, *, interval_s: float) -> None:
        """Until cancelled. In a thread of its own: containers that are being created need the others."""
        with ThreadPoolExecutor(1, thread_name_prefix="collect") as thread:
            while True:
                self._wanted.clear()
                await self._collect(thread)
                try:
                    async with asyncio.timeout(interval_s):
                        await self._wanted.wait()
                except TimeoutError:
                    continue

    async def _collect(self, thread: ThreadPoolExecutor) -> None:
        try:
            done = await in_thread(lambda: self._collector.collect(self._bound), executor=thread)
            if self._forget is not None:
                await self._forget()
        except NodeError as problem:
            self._log.event("collection_failed", message=str(problem))
            return
        self._tell(done)
        if done.entries or done.closures:
            self._log.event(
                "collected",
                freed_bytes=done.freed,
                store_paths=done.entries,
                environments=done.closures,
                store_bytes=done.size,
            )
        if done.excess or done.excess_inodes:
            self._log.event(
                "store_over_bound",
                over_bytes=done.excess,
                over_inodes=done.excess_inodes,
                in_use_bytes=done.kept,
                message="all that is left is in use",
            )

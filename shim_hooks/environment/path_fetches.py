"""Store paths on their way from the registry to the node: each once, whoever wants it, and owned by nobody who does.

Belongs here: one task per store path, how many bytes came. Does not: whose turn it is (`turns.py`), and whether what is
promised of a path may be believed (`closure_fetch.py` has asked before).
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from flox_formats.closure import ClosurePath
from shim_hooks.environment.growing_blob import growing_blob
from shim_hooks.environment.turns import Line, Ticket, Turns
from shim_hooks.store.blob_file import BlobFile
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.unpack import unpack
from shim_hooks.threads import entered_in_thread, in_thread


class Blobs(Protocol):
    async def download(self, repository: str, blob: BlobFile, *, received: Callable[[int], None]) -> None: ...


class PathFetch:
    """One of them, to lie at `place`. `received` are the bytes off the network so far, compressed; `kept` are those
    that an earlier try left. `task` ends when the path is there."""

    def __init__(self, path: ClosurePath, place: Path) -> None:
        self.path, self.place = path, place
        self.received = self.kept = 0
        self.ticket: Ticket = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None]
        self._told = list[Callable[[int], None]]()

    def tell(self, received: Callable[[int], None]) -> None:
        """From now on `received` hears of the bytes as they come."""
        self._told.append(received)

    def came(self, size: int) -> None:
        self.received += size
        for received in self._told:
            received(size)

    @property
    def done(self) -> int:
        """Of the `blob_size` bytes of its path."""
        return min(self.kept + self.received, self.path.blob_size)

    @property
    def is_there(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None


class PathFetches:
    """`parallel` paths at a time; unpacking takes a thread for each processor. `aclose` it."""

    def __init__(self, store: NodeStore, *, parallel: int = 8) -> None:
        self._store = store
        self._turns = Turns(parallel)
        self._unpackers = ThreadPoolExecutor(max_workers=os.cpu_count() or 2, thread_name_prefix="unpack")
        self._under_way: dict[Path, PathFetch] = {}

    def join(self, place: Path, line: Line) -> PathFetch | None:
        """One that is under way to this place. If it still waits for its turn, it waits in `line`, too."""
        fetch = self._under_way.get(place)
        if fetch is not None and not fetch.ticket.done():
            self._turns.queue(fetch.ticket, line)
        return fetch

    def start(self, repository: str, path: ClosurePath, place: Path, blobs: Blobs, line: Line) -> PathFetch:
        """For a path that is neither there nor under way, when it is its turn. `blobs` asks as who wants it first."""
        fetch = self._under_way[place] = PathFetch(path, place)
        fetch.task = asyncio.create_task(self._bring(repository, fetch, blobs), name=f"fetch {path.store_path}")
        fetch.task.add_done_callback(lambda task: self._landed(place, task))
        self._turns.queue(fetch.ticket, line)
        return fetch

    def hurry(self, line: Line) -> None:
        """A container waits for the paths of `line` now."""
        self._turns.hurry(line)

    async def aclose(self) -> None:
        """Cancels what is under way, and returns when it has ended."""
        tasks = [fetch.task for fetch in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._unpackers.shutdown()

    async def _bring(self, repository: str, fetch: PathFetch, blobs: Blobs) -> None:
        path = fetch.path
        async with self._turns.turn(fetch.ticket), entered_in_thread(self._store.staging()) as staging:
            tree = staging / path.store_path.base_name
            async with growing_blob(self._store, path, staging, executor=self._unpackers) as blob:
                fetch.kept = blob.kept
                await blobs.download(repository, blob, received=fetch.came)
                await in_thread(lambda: _unpack(blob, path, tree), executor=self._unpackers)
            # In other threads than those that unpack: as many as wait share one sync.
            await in_thread(lambda: self._store.publish(tree, fetch.place))

    def _landed(self, place: Path, task: asyncio.Task[None]) -> None:
        del self._under_way[place]
        if not task.cancelled():
            task.exception()  # retrieved: whoever waited may have gone


def _unpack(blob: BlobFile, path: ClosurePath, tree: Path) -> None:
    unpack(blob.path, path, tree)
    blob.discard()  # before everything is made durable: this need not be

"""Downloads: one task per blob, its bytes on disk and to every waiting client as they come (design 7).

A download belongs to no client: all of them may go away and it ends well. The last byte is shown to nobody before the
digest matched; where it does not match, every reader's stream breaks and nothing is left.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.to_thread

from flox_formats.digest import Digest
from registry_proxy.content.page_cache import read_at
from registry_proxy.content.store import ContentStore, DigestMismatch, StagedBlob, StoredBlob
from registry_proxy.errors import NixCacheUnavailable, RegistryError

CHUNK_BYTES = 1024 * 1024

Source = Callable[[], AsyncIterator[bytes]]
"""Begins to fetch: the bytes of one blob, in pieces of any size. Raises only RegistryError."""


class Downloads:
    """`max_threads` bounds the writers; memory is a buffer a download and a buffer a reader."""

    def __init__(self, store: ContentStore, *, max_threads: int = 16) -> None:
        self._store = store
        self._threads = anyio.CapacityLimiter(max_threads)
        self._flights: dict[Digest, Download] = {}

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    async def join(self, digest: Digest, size: int, source: Source, *, what: str) -> "Download":
        """The download of `digest`, under way already or begun now from `source`.

        `size` is bytes; `what` tells a person what the blob is. Raises the RegistryError that `source` raised.
        """
        flight = self._flights.get(digest)
        if flight is None:
            flight = self._flights[digest] = Download(digest, size, what, self._threads)
            flight.begin(self._store, source, lambda: self._landed(digest))
        await flight.started()
        return flight

    async def measure(self, source: Source) -> tuple[Digest, StoredBlob]:
        """Fetches a blob whose digest nobody knows yet, and keeps it."""
        staged = await self._in_thread(self._store.stage)
        try:
            async for chunk in _in_chunks(source()):
                await anyio.to_thread.run_sync(staged.write, chunk, limiter=self._threads)
            stored = await anyio.to_thread.run_sync(staged.commit, None, limiter=self._threads)
            return staged.digest, stored
        finally:
            staged.discard()

    async def aclose(self) -> None:
        """Ends what is under way; what was not whole is gone."""
        await asyncio.gather(*(flight.cancel() for flight in self._flights.values()), return_exceptions=True)

    async def _in_thread(self, function: Callable[[], StagedBlob]) -> StagedBlob:
        return await anyio.to_thread.run_sync(function, limiter=self._threads)

    def _landed(self, digest: Digest) -> None:
        del self._flights[digest]


class Download:
    """One blob under way. `size` is what was promised, in bytes."""

    def __init__(self, digest: Digest, size: int, what: str, threads: anyio.CapacityLimiter) -> None:
        self.digest, self.size = digest, size
        self._name = f"blob {digest} ({what})"
        self._threads = threads
        self._written = 0
        self._failure: RegistryError | None = None
        self._staged: StagedBlob | None = None
        self._stored: StoredBlob | None = None
        self._progress = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, store: ContentStore, source: Source, landed: Callable[[], None]) -> None:
        self._task = asyncio.create_task(self._run(store, source), name=f"download {self.digest}")
        self._task.add_done_callback(lambda task: self._ended(task, landed))

    async def started(self) -> None:
        """Returns once there is a first byte to be read, or raises what prevented it."""
        while not self._readable and self._stored is None:
            self._raise_failure()
            await self._progress.wait()

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
        """Bytes from `start` up to `stop`, as they come. Raises RegistryError when the download fails midway."""
        handle = await self._open_reader()
        try:
            while start < stop:
                while (ready := min(stop, self._readable) - start) <= 0:
                    self._raise_failure()
                    await self._progress.wait()
                chunk = await read_at(handle, ready, start, limiter=self._threads)
                yield chunk
                start += len(chunk)
        finally:
            os.close(handle)

    async def _open_reader(self) -> int:
        while True:
            self._raise_failure()
            blob = self._stored or self._staged
            try:
                if blob is not None:
                    return os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                pass  # committed or given up a moment ago; which of them is about to be said
            await self._progress.wait()

    async def whole(self) -> None:
        """Returns when the blob is in the store; raises what prevented it."""
        while self._stored is None:
            self._raise_failure()
            await self._progress.wait()

    async def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def _readable(self) -> int:
        """How far readers may see: all but the last byte until the digest is proven."""
        return self._written if self._stored is not None else min(self._written, self.size - 1)

    async def _run(self, store: ContentStore, source: Source) -> None:
        self._staged = await anyio.to_thread.run_sync(store.stage, limiter=self._threads)
        try:
            async for chunk in _in_chunks(source()):
                if self._written + len(chunk) > self.size:
                    raise DigestMismatch(f"more than the {self.size} bytes promised")
                await anyio.to_thread.run_sync(self._staged.write, chunk, limiter=self._threads)
                self._written += len(chunk)
                self._wake()
            self._stored = await anyio.to_thread.run_sync(self._staged.commit, self.digest, limiter=self._threads)
        except DigestMismatch as error:
            raise NixCacheUnavailable(f"{self._name}: the cache sent something else: {error}") from error
        finally:
            self._staged.discard()

    def _ended(self, task: asyncio.Task[None], landed: Callable[[], None]) -> None:
        if task.cancelled():
            self._failure = NixCacheUnavailable(f"{self._name}: the download was given up; ask again")
        else:
            error = task.exception()
            if isinstance(error, RegistryError):
                self._failure = error
            elif error is not None:
                self._failure = NixCacheUnavailable(f"{self._name}: the download failed; ask again")
        landed()
        self._wake()
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, RegistryError):
            raise error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()


async def _in_chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gathers network-sized pieces so that a thread is asked once a mebibyte; the first goes through at once."""
    waiting, size, first = list[bytes](), 0, True
    async for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES or first:
            yield b"".join(waiting)
            waiting, size, first = [], 0, False
    if waiting:
        yield b"".join(waiting)

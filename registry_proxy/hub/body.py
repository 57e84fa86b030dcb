"""The body of a request to a local FloxHub, waited for before anything else is done about the request.

Belongs here: how long and how much is waited for, and where it lies meanwhile. Two reasons to wait: who may see what is
looked up when all of a request is there, since it may change while a client takes its time; and a client that takes
its time holds no process of git, of which there are few.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.types import Message, Receive

from registry_proxy.hub.repository import HubError, HubFailed

_FREE_BYTES = 64 * 1024
"""What the server holds of any connection, read or not. Of clients that send no more, there may be any number."""
_CHUNK_BYTES = 64 * 1024


class BodyRefused(HubError):
    """The client sent more than is read, or did not send it in time. `status` is HTTP's word for it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class WholeBody:
    """All that the client sent: `size` bytes of `file`, which its reader closes."""

    file: tempfile.SpooledTemporaryFile[bytes]
    size: int

    async def read(self) -> bytes:
        return await anyio.to_thread.run_sync(self._read, 0, self.size)

    def receiving(self, receive: Receive, changed: bytes | None = None) -> Receive:
        """As if it came now, or `changed` in its place; afterwards, whether the client goes away."""
        size, at = self.size if changed is None else len(changed), 0
        ended = False

        async def replay() -> Message:
            nonlocal at, ended
            if ended:
                return await receive()
            start, at = at, min(size, at + _CHUNK_BYTES)
            ended = at == size
            if changed is not None:
                chunk = changed[start:at]
            else:
                chunk = await anyio.to_thread.run_sync(self._read, start, at)
            return {"type": "http.request", "body": chunk, "more_body": not ended}

        return replay

    def _read(self, start: int, stop: int) -> bytes:
        self.file.seek(start)
        return self.file.read(stop - start)


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Reads bodies of at most `max_bytes`, each of which has `whole_s`, and for its next bytes `idle_s`, to come.

    What is more than `in_memory_bytes` lies in `folder`, in files without a name. `large` bounds how many bodies there
    are of more than 64 KiB.
    """

    max_bytes: int
    in_memory_bytes: int
    folder: Path
    whole_s: float
    idle_s: float
    large: anyio.CapacityLimiter

    @asynccontextmanager
    async def whole(self, request: Request) -> AsyncIterator[WholeBody]:
        """Raises BodyRefused, HubFailed, and ClientDisconnect when nobody is left to answer."""
        self._check_size(int(request.headers.get("content-length") or 0))
        with tempfile.SpooledTemporaryFile(self.in_memory_bytes, dir=str(self.folder)) as file:
            try:
                with anyio.move_on_after(self.whole_s) as waiting:
                    size = await self._fill(file, request)
                if waiting.cancelled_caught:
                    raise BodyRefused(408, f"not all of the request came within {self.whole_s:.0f} s")
                yield WholeBody(file, size)
            finally:
                if file in self.large.statistics().borrowers:
                    self.large.release_on_behalf_of(file)

    async def _fill(self, file: tempfile.SpooledTemporaryFile[bytes], request: Request) -> int:
        size = 0
        async for chunk in self._chunks(request):
            before, size = size, size + len(chunk)
            self._check_size(size)
            if before <= _FREE_BYTES < size:
                await self.large.acquire_on_behalf_of(file)
            try:
                await anyio.to_thread.run_sync(file.write, chunk)
            except OSError as problem:
                raise HubFailed(f"cannot keep a request's body in {self.folder}: {problem.strerror}") from problem
        return size

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        chunks = aiter(request.stream())
        while True:
            with anyio.move_on_after(self.idle_s) as waiting:
                chunk = await anext(chunks, None)
            if waiting.cancelled_caught:
                raise BodyRefused(408, f"nothing more of the request came within {self.idle_s:.0f} s")
            if chunk is None:
                return
            yield chunk

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise BodyRefused(413, f"the request is larger than the {self.max_bytes} bytes that are read")

"""A transport that sends a response's head together with the first of its body.

Belongs here: saving a system call, half of what a small answer costs in the kernel. uvicorn writes the head by itself,
and uvloop sends at once what is written.
"""

import asyncio
from typing import Any

_END_OF_HEAD = b"\r\n\r\n"


class Corked:
    """Stands before `transport`. A head waits for the next write, or for the event loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop, self._head = transport, loop, b""

    def write(self, data: bytes | memoryview) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(b"".join((head, data)))
        elif isinstance(data, bytes) and data.endswith(_END_OF_HEAD) and data.startswith(b"HTTP/"):
            self._head = data
            self._loop.call_soon(self._uncork)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._uncork()
        self._transport.close()

    def _uncork(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

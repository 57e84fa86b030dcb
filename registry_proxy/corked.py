"""A transport that sends a response's head together with the first of its body, and spans of files unread.

Belongs here: what can be saved between uvicorn and uvloop. uvicorn writes the head by itself, and uvloop sends at once
what is written: a system call, half of what a small answer costs in the kernel.
"""

import asyncio
from typing import Any

from registry_proxy.content.file_span import FileSpan
from registry_proxy.file_sender import FileSender

_END_OF_HEAD = b"\r\n\r\n"


class Corked:
    """Stands before `transport`. A head waits for the next write, or for the event loop's next turn.

    Nothing may be written while `files` sends, which begins with the write of a FileSpan.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, files: FileSender) -> None:
        self._transport, self._loop, self._files, self._head = transport, loop, files, b""

    def write(self, data: bytes | memoryview | FileSpan) -> None:
        if isinstance(data, FileSpan):
            self._uncork()
            self._files.send(data)
        elif self._head:
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

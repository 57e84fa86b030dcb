"""Spans of an open file, as bodies of answers: bytes that the kernel sends, and that never enter this process.

Belongs here: the file while it is sent from, and sending some of it. Does not: when a client takes more
(`registry_proxy/file_sender.py`), or what is sent for which request (`endpoints/`).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from registry_proxy.content.page_cache import is_at_hand

FILE_BODIES = "floxbridge.file_bodies"
"""The key of an ASGI scope's `extensions` where the server takes a FileSpan for the `body` of `http.response.body`.
ASGI's own extension for this (`http.response.zerocopysend`) has messages of another type, which uvicorn refuses."""


class OpenFile:
    """A file to send from. All of it belongs to the event loop's thread, but for what is done while it is `lent`."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._lent, self._closing = 0, False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Blocks. Raises OSError."""
        return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """To another thread, which may not have looked at it yet when somebody closes it: its number stays its own."""
        self._lent += 1
        try:
            yield
        finally:
            self._lent -= 1
            if self._closing:
                self.close()

    def close(self) -> None:
        """Whoever still sends from it is told that there is no such file."""
        self._closing = True
        if not self._lent and self.handle >= 0:
            handle, self.handle = self.handle, -1
            os.close(handle)


@dataclass(slots=True)
class FileSpan:
    """`left` bytes of `file`, from `offset` on; both move as they are sent."""

    file: OpenFile
    offset: int
    left: int

    def __len__(self) -> int:
        return self.left

    def is_at_hand(self, count: int) -> bool:
        """Whether sending `count` bytes of it would wait for no disk, as far as can be told."""
        return is_at_hand(self.file.handle, min(count, self.left), self.offset)

    def send(self, socket: int, count: int) -> int:
        """Hands up to `count` bytes to a socket; says how many it took, at least 1.

        Raises OSError; BlockingIOError where the socket has no room now.
        """
        sent = os.sendfile(socket, self.file.handle, self.offset, min(count, self.left))
        if sent == 0:
            raise OSError(errno.EIO, f"the file ends at {self.offset}, {self.left} bytes too early")
        return sent

    def sent(self, count: int) -> None:
        self.offset += count
        self.left -= count

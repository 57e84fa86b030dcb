"""Spans of files on their way to a client: from the page cache into the connection's socket, without a copy of ours.

Belongs here: waiting until the client takes more, and for the disk in a thread. It stands beside a transport of uvloop,
which has no sendfile of its own; neither writes while the other does.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio.to_thread

from registry_proxy.content.file_span import FileSpan

_PIECE_BYTES = 1024 * 1024
"""What is sent at once at most: the event loop does nothing else meanwhile."""


class FileSender:
    """For one connection. `begun` and `ended` are called around each span, however that ends.

    It `can_send` unless the connection is over TLS: what goes through that has to be encrypted in this process.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        begun: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._transport, self._loop, self._begun, self._ended = transport, loop, begun, ended
        self.can_send = transport.get_extra_info("sslcontext") is None
        self._span: FileSpan | None = None
        self._socket = -1
        self._from_disk: asyncio.Task[None] | None = None

    @property
    def is_sending(self) -> bool:
        return self._span is not None

    def send(self, span: FileSpan) -> None:
        """One at a time. What was written to the transport before goes first. Raises OSError, and nothing has begun."""
        # The loop watches a socket for one user alone, by its number: under another one it is ours to wait for.
        socket = os.dup(self._transport.get_extra_info("socket").fileno())
        try:
            self._loop.add_writer(socket, self._go_on, span)
        except OSError:
            os.close(socket)
            raise
        self._socket, self._span = socket, span
        self._begun()

    def stop(self) -> None:
        """The span was sent, or the connection is gone."""
        if self._span is None:
            return
        self._span = None
        self._loop.remove_writer(self._socket)
        if self._from_disk is None:  # else its end closes the socket
            os.close(self._socket)
        self._ended()

    def _go_on(self, span: FileSpan) -> None:
        """The socket has room."""
        if self._transport.get_write_buffer_size() or self._transport.is_closing():
            return
        if not span.is_at_hand(_PIECE_BYTES):
            self._loop.remove_writer(self._socket)
            self._from_disk = self._loop.create_task(self._send_from_disk(span, self._socket))
            return
        with self._giving_up():
            self._sent(span, span.send(self._socket, _PIECE_BYTES))

    async def _send_from_disk(self, span: FileSpan, socket: int) -> None:
        count = 0
        try:
            if self._span is not span:
                return  # the connection is gone, and the file closed
            with self._giving_up(), span.file.lent():
                count = await anyio.to_thread.run_sync(span.send, socket, _PIECE_BYTES)
        finally:
            self._from_disk = None
            if self._span is span:
                self._loop.add_writer(socket, self._go_on, span)
                self._sent(span, count)
            else:
                os.close(socket)

    def _sent(self, span: FileSpan, count: int) -> None:
        span.sent(count)
        if not span.left:
            self.stop()

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Cuts a connection on which nothing can be sent any more: the client must not take what it has for the whole.

        A client that is gone is nobody's mistake; what else is wrong, the loop puts into the log.
        """
        try:
            yield
        except BlockingIOError:
            return
        except (ConnectionError, TimeoutError):
            self._transport.abort()
        except BaseException:
            self._transport.abort()
            raise

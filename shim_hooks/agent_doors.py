"""Threads that wait at the agent's socket themselves: who comes is seen to by the one that the kernel wakes.

Belongs here: how many there are, and how they end. Does not: what is said (`agent_socket.py`). An event loop that hands
each request to a thread and gets it back takes two wake-ups more, which on an idle machine is a third of a create.
"""

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

_AT_LEAST = 4
_AT_MOST = 256
"""Each may have to wait for a disk; more containers are not started at once, they wait in the queue."""
_PAUSE_S = 0.1


class Doors:
    """At `listener`, which they leave open, from the context's beginning to its end or to `close`.

    There is always one that waits, until all that there may be are busy. `see_to` gets each connection for its own, in
    one of the threads. It may block, and outlive the context.
    """

    def __init__(self, listener: socket.socket, see_to: Callable[[socket.socket], None]) -> None:
        self._listener, self._see_to = socket.socket(fileno=os.dup(listener.fileno())), see_to
        self._listener.setblocking(False)
        self._lock = threading.Lock()
        self._threads = self._waiting = 0
        self._closed = threading.Event()
        self._wake = os.eventfd(0)

    def __enter__(self) -> Self:
        with self._lock:
            for _ in range(_AT_LEAST):
                self._open_another()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Nobody is let in any more; who is inside is still seen to. Once is enough."""
        if not self._closed.is_set():
            self._closed.set()
            os.eventfd_write(self._wake, 1)

    def _open_another(self) -> None:
        """Raises OSError, or RuntimeError where no thread can be started; then all is as it was."""
        ready = select.epoll()
        ready.register(self._listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        ready.register(self._wake, select.EPOLLIN)
        threading.Thread(target=self._work, args=(ready,), name="door", daemon=True).start()
        self._threads += 1
        self._waiting += 1

    def _work(self, ready: select.epoll) -> None:
        try:
            self._stand(ready)
        finally:
            with self._lock:
                self._threads -= 1
                if not self._threads:  # since it was closed: before, some always wait
                    self._listener.close()
                    os.close(self._wake)

    def _stand(self, ready: select.epoll) -> None:
        with ready:
            while True:
                ready.poll()
                if self._closed.is_set():
                    return
                connection = self._accept()
                if connection is None:
                    continue
                self._leave_the_door()
                self._see_to(connection)
                if not self._return_to_the_door():
                    return

    def _accept(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except BlockingIOError:  # another one was faster
            return None
        except OSError:  # no file descriptor is left, or no memory: who came waits in the queue
            self._closed.wait(_PAUSE_S)
            return None

    def _leave_the_door(self) -> None:
        with self._lock:
            self._waiting -= 1
            if not self._waiting and self._threads < _AT_MOST:
                with suppress(OSError, RuntimeError):  # who comes waits until one of us is back
                    self._open_another()

    def _return_to_the_door(self) -> bool:
        with self._lock:
            if self._waiting >= _AT_LEAST:
                return False
            self._waiting += 1
            return True

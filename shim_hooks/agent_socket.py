"""The agent's unix socket: who may speak, how much, and how that ends.

Belongs here: answering who comes. Does not: the socket's place (`agent_listener.py`), the threads that wait there
(`agent_doors.py`), what a request leads to (`agent.py`), or its text (`launcher_protocol.py`).
"""

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from shim_hooks.agent import Done, Waits
from shim_hooks.agent_doors import Doors
from shim_hooks.agent_listener import AgentListener
from shim_hooks.environment.progress import UnderWay
from shim_hooks.errors import NodeError
from shim_hooks.fetches_question import answer
from shim_hooks.launcher_protocol import (
    OK,
    REQUEST_MAX_BYTES,
    CreateRequest,
    DeleteRequest,
    ExecRequest,
    FetchesRequest,
    Request,
    RequestInvalid,
    error_reply,
    parse_request,
)
from shim_hooks.log import Log

_REQUEST_DEADLINE_S = 10.0  # a launcher sends its few hundred bytes at once
_LONGEST_REQUEST_S = 120.0  # kubelet has given up by then
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Answers(Protocol):
    """Who the requests are for. A NodeError of `begin`, or of the rest of it, has the sentence that is answered."""

    def begin(self, request: CreateRequest | ExecRequest) -> Done | Waits:
        """All that needs nobody else. Blocks for the node's own disk; called in a thread."""

    def delete(self, request: DeleteRequest) -> None:
        """In the event loop. Does not block."""


class AgentServer:
    """Answers what comes in at `listener`, from root and from its own user alone.

    `look_s` is how often it looks whether another agent has taken its place, `under_way` what is being fetched.
    """

    def __init__(
        self,
        answers: Answers,
        log: Log,
        *,
        look_s: float = 1.0,
        under_way: Callable[[], Sequence[UnderWay]] = tuple,
    ) -> None:
        self._answers, self._log, self._look_s, self._fetches = answers, log, look_s, under_way
        self._waiting = set[asyncio.Task[None]]()
        self._is_over = False

    async def serve(self, listener: AgentListener, stop: asyncio.Event, *, grace_s: float) -> None:
        """Until `stop`, or until another agent has taken its place.

        Requests under way have `grace_s` to end then, and meanwhile others are answered, too: the next agent comes
        when this one is gone. What has not ended gets no answer, nor does who comes now; the launcher asks the next
        agent. When another has taken over already nothing is urgent, and they have as long as any request may take.
        """
        loop = asyncio.get_running_loop()
        visits = _Visits(loop)
        with Doors(listener, lambda connection: self._see_to(_Visit(connection, visits), loop)) as doors:
            replaced = await self._until_stopped_or_replaced(listener, stop)
            if replaced:
                doors.close()
            await visits.ended(within_s=_LONGEST_REQUEST_S if replaced else grace_s)
        self._is_over = True
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _until_stopped_or_replaced(self, listener: AgentListener, stop: asyncio.Event) -> bool:
        while True:
            try:
                async with asyncio.timeout(self._look_s):
                    await stop.wait()
                return False
            except TimeoutError:
                # Whoever connected before is accepted by now, and nobody has come since.
                if listener.is_replaced():
                    self._log.event("replaced", message="another agent has taken the socket over")
                    return True

    def _see_to(self, visit: "_Visit", loop: asyncio.AbstractEventLoop) -> None:
        """In a thread. What has to wait goes on in the loop."""
        waits = False
        try:
            request = _read_request(visit.connection)
            match request:
                case DeleteRequest():
                    _in_loop(loop, lambda: self._answers.delete(request))
                case FetchesRequest():
                    _in_loop(loop, lambda: visit.end(answer(self._fetches())))
                    waits = True
                case _:
                    begun = self._answers.begin(request)
                    waits = isinstance(begun, Waits)
                    if isinstance(begun, Waits):
                        _in_loop(loop, lambda: self._wait(visit, begun))
                    else:
                        visit.end(OK)
                        begun.tell()
        except (NodeError, RequestInvalid) as problem:
            self._refuse(visit, problem)
        finally:
            if not waits:
                visit.end(None)

    def _wait(self, visit: "_Visit", begun: Waits) -> None:
        if self._is_over:
            visit.end(None)
            return
        task = asyncio.create_task(self._end(visit, begun))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _end(self, visit: "_Visit", begun: Waits) -> None:
        try:
            await begun.rest()
            visit.end(OK)
        except NodeError as problem:
            self._refuse(visit, problem)
        finally:
            visit.end(None)

    def _refuse(self, visit: "_Visit", problem: NodeError | RequestInvalid) -> None:
        visit.end(error_reply(str(problem)))
        self._log.event("refused", kind=type(problem).__name__, message=str(problem))


class _Visits:
    """How many there are. From any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._lock, self._count = loop, threading.Lock(), 0
        self._last_has_left = asyncio.Event()

    def came(self) -> None:
        with self._lock:
            self._count += 1

    def left(self) -> None:
        with self._lock:
            self._count -= 1
            is_last = not self._count
        if is_last:
            _in_loop(self._loop, self._last_has_left.set)

    async def ended(self, *, within_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._count:
                    self._last_has_left.clear()
                    await self._last_has_left.wait()


class _Visit:
    """One connection, from its beginning to its answer."""

    def __init__(self, connection: socket.socket, visits: _Visits) -> None:
        self.connection, self._visits, self._ended = connection, visits, False
        visits.came()

    def end(self, reply: bytes | None) -> None:
        """Once is enough."""
        if self._ended:
            return
        self._ended = True
        with suppress(OSError):  # it is gone already
            if reply is not None:
                self.connection.sendall(reply)
        self.connection.close()
        self._visits.left()


def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop has ended, and with it whatever this is for
        loop.call_soon_threadsafe(work)


def _read_request(connection: socket.socket) -> Request:
    """Raises RequestInvalid."""
    try:
        data = _read_to_end(connection)  # all of it: closing with some unread would take the answer with it
        _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    except OSError as problem:
        raise RequestInvalid(f"floxbridge agent was sent no whole request: {problem}") from problem
    if uid not in (0, os.geteuid()):
        raise RequestInvalid(f"floxbridge agent answers to root, not to uid {uid}")
    return parse_request(data)


def _read_to_end(connection: socket.socket) -> bytes:
    """Up to a byte too many. Raises OSError, TimeoutError among them."""
    data, end = b"", time.monotonic() + _REQUEST_DEADLINE_S
    while len(data) <= REQUEST_MAX_BYTES:
        connection.settimeout(max(0.001, end - time.monotonic()))
        more = connection.recv(REQUEST_MAX_BYTES)
        if not more:
            break
        data += more
    return data

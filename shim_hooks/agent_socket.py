"""The agent's unix socket: who may speak, how much, and how that ends.

Belongs here: answering who comes. Does not: the socket's place (`agent_listener.py`), what a request leads to
(`agent.py`), or its text (`launcher_protocol.py`).
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

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
    RequestInvalid,
    error_reply,
    parse_request,
)
from shim_hooks.log import Log

_REQUEST_DEADLINE_S = 10.0  # a launcher sends its few hundred bytes at once
_LONGEST_REQUEST_S = 120.0  # kubelet has given up by then
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Answers(Protocol):
    """Who the requests are for. `create` and `exec` raise NodeError, whose sentence is the answer."""

    async def create(self, request: CreateRequest) -> None: ...

    async def exec(self, request: ExecRequest) -> None: ...

    def delete(self, request: DeleteRequest) -> None: ...


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
        self._under_way = set[asyncio.Task[object]]()

    async def serve(self, listener: AgentListener, stop: asyncio.Event, *, grace_s: float) -> None:
        """Until `stop`, or until another agent has taken its place.

        Requests under way have `grace_s` to end then, and meanwhile others are answered, too: the next agent comes
        when this one is gone. What has not ended gets no answer, nor does who comes now; the launcher asks the next
        agent. When another has taken over already nothing is urgent, and they have as long as any request may take.
        """
        queue = socket.socket(fileno=os.dup(listener.fileno()))  # closed at the end, when the listener still listens
        server = await asyncio.start_unix_server(self._connected, sock=queue, backlog=listener.backlog)
        async with server:
            replaced = await self._until_stopped_or_replaced(listener, stop)
            if replaced:
                server.close()
            await self._ended(within_s=_LONGEST_REQUEST_S if replaced else grace_s)
            server.close()
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _ended(self, *, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._under_way:
                    await asyncio.wait(self._under_way)

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

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            reply = await self._reply(reader, writer)
            if reply is not None:
                writer.write(reply)
        finally:
            self._under_way.discard(task)
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        try:
            async with asyncio.timeout(_REQUEST_DEADLINE_S):
                data = await _read_to_end(reader)  # all of it: closing with some unread would take the answer with it
            _refuse_strangers(writer.get_extra_info("socket"))
            request = parse_request(data)
            match request:
                case CreateRequest():
                    await self._answers.create(request)
                case ExecRequest():
                    await self._answers.exec(request)
                case DeleteRequest():
                    self._answers.delete(request)
                    return None
                case FetchesRequest():
                    return answer(self._fetches())
        except (NodeError, RequestInvalid) as problem:
            self._log.event("refused", kind=type(problem).__name__, message=str(problem))
            return error_reply(str(problem))
        except TimeoutError:
            return error_reply("floxbridge agent was sent no whole request")
        except ConnectionError:
            return None
        return OK


def _refuse_strangers(connection: socket.socket) -> None:
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if uid not in (0, os.geteuid()):
        raise RequestInvalid(f"floxbridge agent answers to root, not to uid {uid}")


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    data = b""
    while len(data) <= REQUEST_MAX_BYTES:
        more = await reader.read(REQUEST_MAX_BYTES)
        if not more:
            break
        data += more
    return data

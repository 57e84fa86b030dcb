"""The agent's unix socket: who may speak, how much, and how it begins and ends.

Belongs here: listening and answering. Does not: what a request leads to (`agent.py`), or its text
(`launcher_protocol.py`).
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

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

_BACKLOG = 1024  # containers that a node may start at once, with room to spare
_REQUEST_DEADLINE_S = 10.0  # a launcher sends its few hundred bytes at once
_LONGEST_REQUEST_S = 120.0  # kubelet has given up by then
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class SocketUnusable(NodeError):
    """The agent cannot listen where it was told to."""


class Answers(Protocol):
    """Who the requests are for. `create` and `exec` raise NodeError, whose sentence is the answer."""

    async def create(self, request: CreateRequest) -> None: ...

    async def exec(self, request: ExecRequest) -> None: ...

    def delete(self, request: DeleteRequest) -> None: ...


class AgentListener(socket.socket):
    """Listens at a path, until another agent puts its own socket there."""

    def __init__(self, path: Path) -> None:
        super().__init__(socket.AF_UNIX)
        self._path = path
        self._identity: tuple[int, int] | None = None

    def appear(self) -> None:
        """Puts itself at the path in one step: who connects there reaches this agent or, until then, the other one."""
        fresh = self._path.with_name(self._path.name + ".new")
        with _alone_in(self._path.parent):
            fresh.unlink(missing_ok=True)
            self.bind(str(fresh))
            fresh.chmod(0o600)
            self.listen(_BACKLOG)
            self._identity = _identity(fresh)
            fresh.replace(self._path)

    def vanish(self) -> None:
        with _alone_in(self._path.parent):
            if not self.is_replaced():
                self._path.unlink(missing_ok=True)

    def is_replaced(self) -> bool:
        """Nobody comes here any more: another agent's socket has the path."""
        return _identity(self._path) not in (None, self._identity)


@contextlib.contextmanager
def listening(path: Path, *, take_over: bool = False) -> Iterator[AgentListener]:
    """A socket at `path` that only root can open, in a folder that nobody else can write to.

    A file that a dead agent left is replaced in one step. While another agent lives, SocketUnusable is raised, or with
    `take_over` its socket is replaced all the same; it notices, ends what it has begun, and stops.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_open_folder(path.parent)
        with _only_agent(path, take_over=take_over), AgentListener(path) as listener:
            listener.appear()
            try:
                yield listener
            finally:
                listener.vanish()
    except OSError as problem:
        raise SocketUnusable(f"the agent cannot listen at {path}: {problem.strerror or problem}") from problem


def is_served(path: Path) -> bool:
    """Whether an agent lives that listens at `path`, found out without disturbing it."""
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextlib.contextmanager
def _only_agent(path: Path, *, take_over: bool) -> Iterator[None]:
    """Holds a lock that the kernel lets go of with the process, however it ends.

    Who takes over waits for it in a thread, which may end with the process: the other agent has it as long as it lives.
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not take_over:
                raise SocketUnusable(
                    f"another agent is listening at {path}: stop it first, take over from it with --take-over, "
                    "or use another --socket"
                ) from None
            threading.Thread(target=_wait_for, args=(os.dup(lock),), name="agent lock", daemon=True).start()
        yield
    finally:
        os.close(lock)


def _wait_for(lock: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(lock)  # the lock itself stays with the first descriptor, until that is closed


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other agent puts its socket there or takes it away meanwhile. Held for a moment."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refuse_open_folder(folder: Path) -> None:
    mode = folder.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SocketUnusable(
            f"{folder} can be written to by others than its owner, who could put an agent of theirs there: "
            "use a folder of the agent's own for --socket"
        )


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

        Requests under way have `grace_s` to end then, and are told so when they do not. When another has taken over
        nothing is urgent, and they have as long as any request may take.
        """
        server = await asyncio.start_unix_server(self._connected, sock=listener, backlog=_BACKLOG)
        async with server:
            replaced = await self._until_stopped_or_replaced(listener, stop)
            server.close()
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=_LONGEST_REQUEST_S if replaced else grace_s)
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

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
        except asyncio.CancelledError:
            writer.write(error_reply("floxbridge agent is being stopped; the container is tried again"))
            raise
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

"""The agent's place: a unix socket at a path, who has it, and how it changes hands.

Belongs here: taking the place and leaving it. Does not: answering who comes (`agent_socket.py`). An agent that starts
needs this first, and it needs little of the house.
"""

import contextlib
import fcntl
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from shim_hooks.errors import NodeError
from shim_hooks.open_file_lock import is_locked, try_lock, wait_for_lock


class SocketUnusable(NodeError):
    """The agent cannot listen where it was told to."""


class AgentListener(socket.socket):
    """Listens at a path, until another agent puts its own socket there."""

    backlog = 1024  # containers that a node may start at once, with room to spare

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
            self.listen(self.backlog)
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
        return is_locked(lock)
    finally:
        os.close(lock)


@contextlib.contextmanager
def _only_agent(path: Path, *, take_over: bool) -> Iterator[None]:
    """Holds a lock that the kernel lets go of with the process, however it ends.

    Who takes over waits for it in a thread, which may end with the process: the other agent has it as long as it lives.
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not try_lock(lock):
            if not take_over:
                raise SocketUnusable(
                    f"another agent is listening at {path}: stop it first, take over from it with --take-over, "
                    "or use another --socket"
                )
            threading.Thread(target=_wait_for, args=(os.dup(lock),), name="agent lock", daemon=True).start()
        yield
    finally:
        os.close(lock)


def _wait_for(lock: int) -> None:
    with contextlib.suppress(OSError):
        wait_for_lock(lock)
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

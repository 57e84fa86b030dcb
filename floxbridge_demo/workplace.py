"""The folder of one run. Everything that the run makes lies below it or carries its mark, so it can all be found again.

Belongs here: the folder, the lock that says whether its run is alive, the sweeping of dead ones. What a run may leave
outside of its folder, and how that is removed, is in `leftovers.py`.
"""

import fcntl
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from floxbridge_demo.leftovers import sweep

_PREFIX = "run-"
_LOCK_SUFFIX = ".lock"
MARK = "FLOXBRIDGE_DEMO"
_LONGEST_SOCKET_PATH = 107  # sizeof sockaddr_un.sun_path, less its terminating zero
_LONGEST_NAME = len("containerd/containerd.sock.ttrpc")


class WorkplaceRefused(Exception):
    """The folder cannot be used, and why."""


class Workplace:
    """A folder `<parent>/run-<random>`, alive as long as this process holds its lock; removed with all it started.

    The lock is the kernel's: a run that was killed holds none, and the next one in the same parent sweeps after it.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock

    @classmethod
    def make(cls, parent: Path) -> Self:
        """Sweeps the dead runs in `parent` first."""
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        parent = parent.resolve()
        _refuse_unsafe(parent)
        for lock in parent.glob(f"{_PREFIX}*{_LOCK_SUFFIX}"):
            _sweep_if_dead(lock)
        while True:
            folder = parent / f"{_PREFIX}{secrets.token_hex(3)}"
            held = _hold(_lock_of(folder), create=True)
            if held is not None:
                folder.mkdir(mode=0o700)
                return cls(folder, held)

    @property
    def name(self) -> str:
        """Unique on this machine among the living, for things that need a name outside of the folder."""
        return f"floxbridge-demo-{self.folder.name.removeprefix(_PREFIX)}"

    @property
    def cgroup(self) -> str:
        """The parent of the run's control groups, so that none stays behind."""
        return f"/{self.name}"

    def environment(self) -> dict[str, str]:
        """What the run's programs get: this process's own variables and the mark by which they are found again."""
        return {**os.environ, MARK: str(self.folder)}

    def path(self, *parts: str) -> Path:
        """A path in the folder; its parent is made."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def remove(self) -> None:
        _sweep(self.folder)
        _lock_of(self.folder).unlink(missing_ok=True)
        os.close(self._lock)
        with suppress(OSError):  # others are in it, or it is not ours to remove
            self.folder.parent.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()


def default_parent() -> Path:
    return Path(tempfile.gettempdir()) / f"floxbridge-demo-{os.geteuid()}"


def _refuse_unsafe(parent: Path) -> None:
    found = parent.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise WorkplaceRefused(f"{parent} belongs to another user or others may write to it; name a folder with --dir")
    if len(str(parent)) + len(f"/{_PREFIX}000000/") + _LONGEST_NAME > _LONGEST_SOCKET_PATH:
        raise WorkplaceRefused(f"{parent} is too long a path for the sockets below it; name a shorter one with --dir")


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)


def _hold(lock: Path, *, create: bool) -> int | None:
    """Takes the lock, or None when another process has it or removed it in between."""
    try:
        held = os.open(lock, os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0), 0o600)
    except (FileExistsError, FileNotFoundError):
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(held).st_nlink > 0:
            return held
    except BlockingIOError:
        pass
    os.close(held)
    return None


def _sweep_if_dead(lock: Path) -> None:
    held = _hold(lock, create=False)
    if held is not None:
        _sweep(lock.with_name(lock.name.removesuffix(_LOCK_SUFFIX)))
        lock.unlink(missing_ok=True)
        os.close(held)


def _sweep(folder: Path) -> None:
    dead = Workplace(folder, -1)
    sweep(folder, mark=f"{MARK}={folder}", cgroup=dead.cgroup)

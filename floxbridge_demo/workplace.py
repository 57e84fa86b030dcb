"""The folder of one run. Everything that the run makes lies below it or carries its mark, so it can all be found again.

Belongs here: the folder, the lock that says whether its run is alive, the sweeping of dead ones. What a run may leave
outside of its folder, and how that is removed, is in `leftovers.py`.
"""

import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from floxbridge_demo.leftovers import sweep

_PREFIX = "run-"
_LOCK_SUFFIX = ".lock"
_MARK = "_FLOXBRIDGE_DEMO"
_LONGEST_SOCKET_PATH = 107  # sizeof sockaddr_un.sun_path, less its terminating zero
_LONGEST_NAME = len(f"/{_PREFIX}000000/containerd.sock.ttrpc")


class WorkplaceRefused(Exception):
    """The folder cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a run puts its things, and what it calls those that cannot lie there."""

    folder: Path

    @property
    def cgroup(self) -> str:
        """The parent of the run's control groups, so that none stays behind."""
        return f"/floxbridge-demo-{self.folder.name.removeprefix(_PREFIX)}"

    @property
    def environment(self) -> dict[str, str]:
        """What the run's programs get: this process's own variables, the mark by which they are found again, and
        nothing that would make them other than the run wants them: settings, or a proxy for what is on this machine.
        """
        mine = {name: value for name, value in os.environ.items() if not _foreign(name)}
        return {**mine, _MARK: str(self.folder)}

    def path(self, *parts: str) -> Path:
        """A path in the folder; its parent is made."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def sweep(self) -> None:
        """Ends and removes all that the run made."""
        sweep(self.folder, mark=f"{_MARK}={self.folder}", cgroup=self.cgroup)


@contextmanager
def own_workplace(parent: Path) -> Iterator[Workplace]:
    """A new folder `<parent>/run-<random>`, swept at the end. Sweeps the dead runs in `parent` first; a `parent` that
    is empty at the end goes too.

    A run is alive while its process holds the lock beside the folder. The lock is the kernel's, so a run that was
    killed holds none. Raises WorkplaceRefused.
    """
    parent = parent.resolve()
    if len(os.fsencode(parent)) + _LONGEST_NAME > _LONGEST_SOCKET_PATH:
        raise WorkplaceRefused(f"{parent} is too long a path for the sockets below it; name a shorter one with --dir")
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_shared(parent)
    for lock in parent.glob(f"{_PREFIX}*{_LOCK_SUFFIX}"):
        _sweep_if_dead(lock)
    folder, held = _new_run(parent)
    try:
        folder.mkdir(mode=0o700)
        yield Workplace(folder)
    finally:
        Workplace(folder).sweep()
        _lock_of(folder).unlink()
        os.close(held)
        with suppress(OSError):  # others are in it
            parent.rmdir()


def default_parent() -> Path:
    return Path(tempfile.gettempdir()) / f"floxbridge-demo-{os.geteuid()}"


def _foreign(variable: str) -> bool:
    return variable.startswith("FLOXBRIDGE_") or variable.lower().endswith("_proxy")


def _refuse_shared(parent: Path) -> None:
    found = parent.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise WorkplaceRefused(f"{parent} belongs to another user or others may write to it; name a folder with --dir")


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)


def _new_run(parent: Path) -> tuple[Path, int]:
    while True:
        folder = parent / f"{_PREFIX}{secrets.token_hex(3)}"
        held = _hold(_lock_of(folder), os.O_CREAT | os.O_EXCL)
        if held is not None:
            return folder, held


def _hold(lock: Path, how: int = 0) -> int | None:
    """Takes the lock, or None when another process has it or removed it in between."""
    try:
        held = os.open(lock, os.O_RDWR | how, 0o600)
    except (FileExistsError, FileNotFoundError):
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    if os.fstat(held).st_nlink == 0:
        os.close(held)
        return None
    return held


def _sweep_if_dead(lock: Path) -> None:
    held = _hold(lock)
    if held is not None:
        Workplace(lock.with_name(lock.name.removesuffix(_LOCK_SUFFIX))).sweep()
        lock.unlink()
        os.close(held)

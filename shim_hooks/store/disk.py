"""The node's disk: files that are whole or absent, and its errors in words.

Belongs here: what every folder below the state directory needs. What lies in them is the other modules'.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from shim_hooks.errors import StoreFailed

TEMPORARY = "~"
"""How the name of a file begins that is not whole yet; no name of ours does."""

_numbers = count(int.from_bytes(os.urandom(6)))
"""From anywhere: a process of the same number may have been killed before it renamed its own."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def disk_errors(doing: str, where: Path) -> Iterator[None]:
    """Turns an OSError into StoreFailed: what was being done (`doing`), where, why it failed, and what helps."""
    try:
        yield
    except OSError as problem:
        raise StoreFailed(f"{doing}: {_sentence(problem, where)}") from problem


def _sentence(problem: OSError, where: Path) -> str:
    if problem.errno in FULL:
        return (
            f"the disk that holds {where} is full. Free space on it (df) or inodes (df -i), or give floxbridge-node a "
            "larger state directory"
        )
    if problem.errno == errno.EROFS:
        return f"the disk that holds {where} is read-only. Mount it writable, or give another state directory"
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"no permission for {where}. Run floxbridge-node as root, or with a state directory of its own user"
    return f"{problem.strerror or problem} ({where}). Look at the disk and at the kernel's log"


def write_whole(path: Path, data: bytes) -> None:
    """Puts `data` at `path` in one step that survives a power cut: before it, the old file or none is there."""
    _write(path, data, sync=True)
    with disk_errors(f"writing {path.name}", path.parent):
        sync_directory(path.parent)


def write_until_reboot(path: Path, data: bytes) -> None:
    """As `write_whole`, but of what a power cut leaves of it nothing is promised: for what means nothing after it."""
    _write(path, data, sync=False)


def _write(path: Path, data: bytes, *, sync: bool) -> None:
    with disk_errors(f"writing {path.name}", path.parent):
        handle, temporary = create_beside(path, prefix=TEMPORARY)
        try:
            try:
                write_all(handle, data)
                if sync:
                    os.fsync(handle)
            finally:
                os.close(handle)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def create_beside(path: Path, *, prefix: str) -> tuple[int, Path]:
    """A new file in the folder of `path`, for nobody else to read, open for writing. Raises OSError.

    As tempfile makes one, in a third of the time: a container's start has two of them.
    """
    new = path.with_name(f"{prefix}{os.getpid()}-{next(_numbers)}")
    return os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), new


def write_all(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def sweep_temporary(folder: Path, *, before: float) -> None:
    """Removes what `write_whole` left where its process was killed: temporary files last changed before a time."""
    for entry in os.scandir(folder):
        if entry.name.startswith(TEMPORARY):
            with suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    Path(entry).unlink()


def sync_directory(path: Path) -> None:
    """Makes the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

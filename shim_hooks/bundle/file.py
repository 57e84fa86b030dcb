"""The only reader and writer of what runtimes are given as files: a bundle's `config.json`, and the process of an exec.

Belongs here: the files, whole or not at all. What is in them is in `spec.py` and `process.py`.
"""

import contextlib
import os
import stat
from pathlib import Path

from shim_hooks.bundle.process import Process
from shim_hooks.bundle.spec import MAX_BYTES, Spec
from shim_hooks.errors import BundleInvalid, StoreFailed
from shim_hooks.store.disk import create_beside, write_all

_NAME = "config.json"


def read_spec(bundle: Path) -> Spec:
    """Raises BundleInvalid for a `config.json` that is missing, no regular file, too large or no specification."""
    return Spec.parse(_read(bundle / _NAME))


def write_spec(bundle: Path, spec: Spec) -> None:
    """Raises StoreFailed when the disk does not take it; nothing has changed then."""
    _replace(bundle / _NAME, spec.to_bytes())


def read_process(path: Path) -> Process:
    """Raises BundleInvalid, as `read_spec` does."""
    return Process.parse(_read(path))


def write_process(path: Path, process: Process) -> None:
    """Raises StoreFailed, as `write_spec` does."""
    _replace(path, process.to_bytes())


def _read(path: Path) -> bytes:
    """At most one byte more than anything here may be long."""
    try:
        # Not through a symlink, and never waiting at a fifo: the folder is root's, what lies in it may not be.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = _read_regular(file)
        finally:
            os.close(file)
    except OSError as problem:
        raise BundleInvalid(f"{path} cannot be read: {problem.strerror}") from problem
    if data is None:
        raise BundleInvalid(f"{path} is not a regular file")
    return data


def _read_regular(file: int) -> bytes | None:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        return None
    data, wanted = b"", min(status.st_size, MAX_BYTES) + 1  # one more than there is, so that the end is seen
    while len(data) <= MAX_BYTES and (more := os.read(file, wanted)):
        data += more
    return data


def _replace(path: Path, data: bytes) -> None:
    """Keeps mode and owner. Until the new file takes the old one's place, nothing has changed.

    It is not synced: no container outlives a power cut, and what is created after one gets a fresh bundle.
    """
    try:
        before = path.stat(follow_symlinks=False)
        file, new = create_beside(path, prefix=f".{path.name}.")
        try:
            try:
                os.fchmod(file, stat.S_IMODE(before.st_mode))
                os.fchown(file, before.st_uid, before.st_gid)
                write_all(file, data)
            finally:
                os.close(file)
            new.rename(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                new.unlink()
            raise
    except OSError as problem:
        raise StoreFailed(f"{path} cannot be written: {problem.strerror}") from problem

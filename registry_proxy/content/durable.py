"""Files and folders that are whole or not there: written elsewhere on the disk, flushed, then renamed into place."""

import errno
import os
import tempfile
from pathlib import Path

from registry_proxy.errors import StorageFailed


def write_whole(path: Path, data: bytes, *, staging: Path) -> None:
    """Replaces `path` at once; its folder must exist. Raises OSError, and then nothing has changed.

    `staging` is a folder on the same disk, which whoever owns it empties when it is opened: a process that is killed
    leaves its file there.
    """
    handle, name = tempfile.mkstemp(dir=staging)
    staged = Path(name)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123  # a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except OSError:
        staged.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush_tree(folder: Path) -> None:
    """Flushes every file and folder below `folder`, which nobody else changes meanwhile."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with (Path(parent) / name).open("rb") as file:
                os.fsync(file.fileno())
        flush_folder(Path(parent))


def flush_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def storage_failed(path: Path, error: OSError) -> StorageFailed:
    """What an error of the disk is to a client: what to do about it, where that is known."""
    advice = {
        errno.ENOSPC: "the disk is full: free some room",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "the process may not write there: check the owner of the state directory",
    }
    return StorageFailed(f"state at {path}: {advice.get(error.errno or 0, error.strerror)}")

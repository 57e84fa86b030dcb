"""The store's lock between processes: who says what must stay holds it together, who takes away holds it alone.

Belongs here: the lock. It is held for moments only, never while something is fetched or deleted.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from shim_hooks.store.disk import disk_errors


class StoreLock:
    """On the state directory itself; the kernel unlocks it when the holder dies. Its methods block: use a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def shared(self) -> AbstractContextManager[None]:
        return self._held(fcntl.LOCK_SH)

    def exclusive(self) -> AbstractContextManager[None]:
        return self._held(fcntl.LOCK_EX)

    @contextmanager
    def _held(self, how: int) -> Iterator[None]:
        with disk_errors("locking the node store", self._folder):
            lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with disk_errors("locking the node store", self._folder):
                fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)

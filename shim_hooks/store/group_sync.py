"""Making what was written survive a power cut, for many writers at the price of few syncs.

Belongs here: when to sync and for whom. Syncing each of a store path's files by itself would cost more than unpacking
them; syncing the file system once is cheap if all who are ready share it, as transactions do in a database.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

from shim_hooks.errors import StoreFailed
from shim_hooks.store.disk import disk_errors


class GroupSync:
    """`sync` is run by one caller at a time, for all that called before it began. Used from many threads."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting = _Round()

    def __call__(self) -> None:
        """Returns once all that the caller wrote before is on the disk. Raises StoreFailed."""
        with self._lock:
            mine = self._waiting
        with self._turn:
            if not mine.done:
                with self._lock:
                    self._waiting = _Round()
                mine.run(self._sync)
        if mine.failure is not None:
            raise StoreFailed(str(mine.failure)) from mine.failure


class _Round:
    """One run of the sync, and how it ended."""

    def __init__(self) -> None:
        self.done = False
        self.failure: StoreFailed | None = None

    def run(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except StoreFailed as failure:
            self.failure = failure
        self.done = True


def sync_file_system(path: Path) -> None:
    """Everything written so far to the file system that holds `path` (syncfs(2), which Python does not have)."""
    with disk_errors("making store paths durable", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                problem = ctypes.get_errno()
                raise OSError(problem, os.strerror(problem))
        finally:
            os.close(descriptor)

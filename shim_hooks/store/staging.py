"""Where things grow until they are whole: `staging/<random>/…`, gone when their maker is done or dead.

Belongs here: making such places and sweeping those of makers that died. A process locks its own place for as long as
it lives, so the agent and a command run by hand can share a state directory.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shim_hooks.store.disk import FULL, disk_errors
from shim_hooks.store.removal import remove_tree


class Staging:
    """Sweeps what the dead have left, then holds a place of its own, `own`, until `close`. Raises StoreFailed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spare = folder.with_name(folder.name + "-spare")
        with disk_errors("preparing the staging area", folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.sweep()
            self.own, self._lock = self._new_place()
            self._make_spare()

    @contextmanager
    def place(self) -> Iterator[Path]:
        """An empty directory, removed afterwards with what is left in it."""
        with disk_errors("making room in the staging area", self._folder):
            place = Path(tempfile.mkdtemp(dir=self.own))
        try:
            yield place
        finally:
            with disk_errors("clearing the staging area", self._folder):
                remove_tree(place)

    def close(self) -> None:
        """After this nothing may use it. What is left in it goes."""
        if self._lock >= 0:
            remove_tree(self.own)
            os.close(self._lock)
            self._lock = -1

    def sweep(self) -> None:
        """Removes what the dead have left."""
        for left in self._folder.iterdir():
            try:
                lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                continue  # another process swept it; a stray file is nobody's harm
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(left)
            except BlockingIOError:
                continue  # its maker lives
            finally:
                os.close(lock)

    def _new_place(self) -> tuple[Path, int]:
        """A new directory and the lock on it. One that another process swept before it was locked is made anew."""
        while True:
            place = self._new_directory()
            try:
                lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX)
            if place.exists():
                return place, lock
            os.close(lock)

    def _new_directory(self) -> Path:
        """On a disk where not even a directory can be made any more, the spare one: who frees it needs a place, too."""
        try:
            return Path(tempfile.mkdtemp(dir=self._folder))
        except OSError as problem:
            if problem.errno not in FULL:
                raise
            place = self._folder / f"spare{os.urandom(8).hex()}"
            try:
                self._spare.rename(place)
            except FileNotFoundError:
                raise problem from None
            return place

    def _make_spare(self) -> None:
        try:
            self._spare.mkdir(mode=0o700)
        except FileExistsError:
            return
        except OSError as problem:
            if problem.errno not in FULL:
                raise

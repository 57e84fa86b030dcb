"""How much a content store holds: counted once after it was opened, and kept up to date from then on.

Belongs here: the sums, and putting a file into its place so that it is counted once. All of it blocks.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock


class Tally:
    """Safe for threads. Until `count` has been through the folders, `files` and `bytes` are only of what is new."""

    def __init__(self) -> None:
        self.files, self.bytes = 0, 0
        self._lock = Lock()
        self._new: set[str] | None = set()

    def move_into_place(self, staged: Path, target: Path, size: int) -> None:
        """Renames, and counts the file unless its place was taken. Raises OSError."""
        with self._lock:
            is_new = not target.exists()
            if is_new and self._new is not None:
                self._new.add(target.name)
            staged.replace(target)
            if is_new:
                self.files += 1
                self.bytes += size

    def count(self, root: Path) -> None:
        """Adds what was there before, in the folders below `root`. A second time changes nothing."""
        new = self._new
        if new is None:
            return
        files, size = 0, 0
        for entry in _files(root):
            with suppress(FileNotFoundError):  # somebody empties the store below us
                if entry.name not in new:
                    size += entry.stat().st_size
                    files += 1
        with self._lock:
            self.files += files
            self.bytes += size
            self._new = None


def _files(root: Path) -> Iterator[os.DirEntry[str]]:
    for folder in _entries(root):
        if folder.is_dir():
            yield from _entries(Path(folder.path))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries

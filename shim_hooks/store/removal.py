"""Trees that are removed, whatever a container has made of them.

Belongs here: the walk. Who may write a store of its own may nest directories deeper than a path can name or a program
call itself, so the tree is walked by names relative to an open directory, one of them open at a time, as
`flox_formats/nar.py` does.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

_PARENT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = _PARENT | os.O_NOFOLLOW
_BATCH = 256
"""Names of directories that are kept of one directory: it is looked through again for the next ones."""


def remove_tree(path: Path) -> int:
    """Removes what is at `path`, a directory with all that is in it, read-only directories too; links are not followed.

    Gives how many files and directories these were; 0 for what is not there. Raises OSError.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return 1
        walk = _Walk(path)
        try:
            walk.run()
        finally:
            walk.close()
        path.rmdir()
    except FileNotFoundError:
        return 0
    return walk.removed + 1


@dataclass(slots=True)
class _Place:
    """A directory on the way down, by what it is known again by, and those in it that are still to be emptied."""

    identity: tuple[int, int]
    waiting: list[str]


class _Walk:
    """Stands in one directory, at first in the one that shall be empty. `removed` is how much was in it."""

    def __init__(self, root: Path) -> None:
        self.removed = 0
        self._directory = os.open(root, _DIRECTORY)
        self._above: list[_Place] = []
        self._here = _Place(_writable(self._directory), [])

    def run(self) -> None:
        while True:
            if not self._here.waiting:
                self._here.waiting = self._remove_leaves()
            if self._here.waiting:
                self._enter(self._here.waiting[-1])
            elif self._above:
                self._leave()
            else:
                return

    def close(self) -> None:
        os.close(self._directory)

    def _remove_leaves(self) -> list[str]:
        """All that is no directory goes; of those that are, some."""
        directories: list[str] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=self._directory)
                    self.removed += 1
                elif len(directories) < _BATCH:
                    directories.append(entry.name)
        return directories

    def _enter(self, name: str) -> None:
        self._move_to(name)
        self._above.append(self._here)
        self._here = _Place(_writable(self._directory), [])

    def _leave(self) -> None:
        self._move_to("..")
        self._here = self._above.pop()
        if _identity(os.fstat(self._directory)) != self._here.identity:
            raise OSError(errno.ESTALE, "a directory was moved while it was being removed")
        os.rmdir(self._here.waiting.pop(), dir_fd=self._directory)
        self.removed += 1

    def _move_to(self, name: str) -> None:
        try:
            directory = os.open(name, _DIRECTORY, dir_fd=self._directory)
        except PermissionError:  # one that its owner may not read, and we are not root
            os.chmod(name, stat.S_IRWXU, dir_fd=self._directory)
            directory = os.open(name, _DIRECTORY, dir_fd=self._directory)
        os.close(self._directory)
        self._directory = directory


def _writable(directory: int) -> tuple[int, int]:
    """Its identity, once what is in it can be removed."""
    status = os.fstat(directory)
    if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.fchmod(directory, stat.S_IRWXU)
    return _identity(status)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino

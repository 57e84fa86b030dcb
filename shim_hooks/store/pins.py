"""Pins: store paths that must stay because somebody is about to need them, before there is a lease.

Belongs here: pinning, and reading what all processes pinned. A pin is a file in its process's place of the staging
area, so it ends with its process, however that ends.
"""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from flox_formats.store_path import StorePath
from shim_hooks.store.disk import disk_errors
from shim_hooks.store.store_lock import StoreLock

_PREFIX = "pin-"


class Pin:
    """Holds nothing until `add`. Its methods block: call them in a thread. Raises StoreFailed."""

    def __init__(self, place: Path, lock: StoreLock) -> None:
        self._place, self._lock = place, lock
        self._names = set[str]()
        self._file: Path | None = None

    def add(self, paths: Iterable[StorePath]) -> None:
        """From its return on these stay, if they are there: look after it, not before."""
        names = {path.base_name for path in paths}
        if names <= self._names:
            return
        # The collection reads pins with the lock to itself, so it never sees half of one.
        with self._lock.shared(), disk_errors("pinning store paths", self._place):
            try:
                self._write(self._names | names)
            except OSError as problem:
                if problem.errno != errno.EROFS:  # where nothing can be written, nothing can be taken away
                    raise
        self._names |= names

    def release(self) -> None:
        """Twice is fine. What was pinned stays if it has a lease by now."""
        if self._file is not None:
            with suppress(OSError):  # then it holds until its process ends
                self._file.unlink(missing_ok=True)
            self._file = None
            self._names.clear()

    def _write(self, names: Iterable[str]) -> None:
        if self._file is None:
            handle, name = tempfile.mkstemp(dir=self._place, prefix=_PREFIX)
            os.close(handle)
            self._file = Path(name)
        self._file.write_text("\n".join(names))


def pinned(staging: Path) -> frozenset[str]:
    """Base names that any process pinned, below the staging area. For who holds the store's lock alone."""
    names = set[str]()
    with disk_errors("reading pins", staging):
        for pin in _pins(staging):
            try:
                names.update(pin.read_text().split("\n"))
            except FileNotFoundError:
                continue  # released just now: then the lease is there already
    return frozenset(names)


def _pins(staging: Path) -> Iterator[Path]:
    for place in os.scandir(staging):
        if place.is_dir(follow_symlinks=False):
            try:
                yield from (Path(entry) for entry in os.scandir(place) if entry.name.startswith(_PREFIX))
            except FileNotFoundError:
                continue  # its process has ended

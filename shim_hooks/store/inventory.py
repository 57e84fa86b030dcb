"""What is in the store: every entry with its size, every closure with its last use.

Belongs here: looking, and remembering what cannot change, because looking is done often. Does not: what may go
(`garbage.py`).
"""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.lockfile import MAX_BYTES
from shim_hooks.store.closures import ClosureRecords, RecordKey
from shim_hooks.store.disk import disk_errors
from shim_hooks.store.garbage import Entry, Inventory, UsedClosure


class InventoryReader:
    """One for each process; used by one thread at a time. Raises StoreFailed."""

    def __init__(self, store_dir: Path, closures: ClosureRecords) -> None:
        self._store_dir, self._closures = store_dir, closures
        self._sizes = dict[RecordKey, tuple[int, Mapping[str, int]]]()
        self._lockfiles = dict[str, Digest | None]()
        self._tree_sizes = dict[str, int]()

    def read(self) -> Inventory:
        """A size is that of the NAR where a closure tells it, else the sum of the files'."""
        used = self._used()
        promised: dict[str, int] = {}
        for _, sizes in self._sizes.values():
            promised.update(sizes)
        with disk_errors("listing the node store", self._store_dir):
            entries = {}
            for entry in os.scandir(self._store_dir):
                with suppress(FileNotFoundError):  # another process took it away
                    since = entry.stat(follow_symlinks=False).st_ctime
                    entries[entry.name] = Entry(self._size(entry, promised), since)
        linked: dict[Digest, set[str]] = {}
        for name in entries.keys() - promised.keys():
            lockfile = self._lockfile_of(name)
            if lockfile is not None:
                linked.setdefault(lockfile, set()).add(name)
        self._forget(entries)
        closures = (
            UsedClosure(key, last, frozenset(self._sizes[key][1]), frozenset(linked.get(key.lockfile, ())))
            for key, last in used.items()
        )
        return Inventory(entries, tuple(closures))

    def _used(self) -> dict[RecordKey, float]:
        """Every closure's last use. Documents that cannot be read are none: what they name is fetched again."""
        used: dict[RecordKey, float] = {}
        known, self._sizes = self._sizes, {}
        for key in self._closures.recorded():
            stamp = self._closures.stamp(key)
            if stamp is None:
                continue
            inode, last = stamp
            if key in known and known[key][0] == inode:
                self._sizes[key] = known[key]
            else:
                record = self._closures.read(key)
                paths = () if record is None else record.document.paths
                self._sizes[key] = inode, {path.store_path.base_name: path.nar_size for path in paths}
            used[key] = last
        return used

    def _size(self, entry: "os.DirEntry[str]", promised: Mapping[str, int]) -> int:
        size = promised.get(entry.name)
        if size is None:
            size = self._tree_sizes.get(entry.name)
        if size is None:
            size = self._tree_sizes[entry.name] = tree_size(Path(entry))
        return size

    def _lockfile_of(self, name: str) -> Digest | None:
        """Of a linked environment; None for anything else."""
        if name not in self._lockfiles:
            self._lockfiles[name] = _lockfile_digest(self._store_dir / name)
        return self._lockfiles[name]

    def _forget(self, entries: Mapping[str, Entry]) -> None:
        for memory in (self._lockfiles, self._tree_sizes):
            for name in memory.keys() - entries.keys():
                del memory[name]


def tree_size(path: Path) -> int:
    """The sum of the files below `path`, links not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(
        os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - thousands of them
        for folder, _, names in os.walk(path)
        for name in names
    )


def tree_inodes(path: Path) -> int:
    """How many files and directories there are at `path` and below it."""
    if path.is_symlink() or not path.is_dir():
        return 1
    return 1 + sum(len(folders) + len(names) for _, folders, names in os.walk(path))


def _lockfile_digest(directory: Path) -> Digest | None:
    try:
        descriptor = os.open(directory / "manifest.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return Digest.of(file.read(MAX_BYTES))

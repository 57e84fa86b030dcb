"""What is in the store: every entry with its size, every closure with its last use.

Belongs here: looking, and remembering what cannot change, because looking is done often. Does not: what may go
(`garbage.py`).
"""

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.lockfile import MAX_BYTES
from shim_hooks.store.closures import ClosureRecords, RecordKey
from shim_hooks.store.disk import disk_errors
from shim_hooks.store.garbage import Entry, Inventory, UsedClosure, base_name
from shim_hooks.store.store_folders import PRIVATE, SHARED, private_folders


class InventoryReader:
    """Of the store in the state directory `root`. One for each process; used by one thread at a time.

    Raises StoreFailed.
    """

    def __init__(self, root: Path, closures: ClosureRecords) -> None:
        self._root, self._closures = root, closures
        self._sizes = dict[RecordKey, tuple[int, Mapping[str, int]]]()
        self._lockfiles = dict[str, Digest | None]()
        self._tree_sizes = dict[str, int]()

    def read(self) -> Inventory:
        """A size is that of the NAR where a closure tells it, else the sum of the files'."""
        used = self._used()
        promised: dict[str, int] = {}
        for _, sizes in self._sizes.values():
            promised.update(sizes)
        entries: dict[str, Entry] = {}
        for folder in (SHARED, *(f"{PRIVATE}/{own.name}" for own in private_folders(self._root))):
            entries.update(self._entries(folder, promised))
        linked: dict[Digest, set[str]] = {}
        for place in entries:
            if base_name(place) not in promised and (lockfile := self._lockfile_of(place)) is not None:
                linked.setdefault(lockfile, set()).add(place)
        self._forget(entries)
        return Inventory(entries, tuple(self._closure(*each, linked) for each in used.items()))

    def _entries(self, folder: str, promised: Mapping[str, int]) -> Iterator[tuple[str, Entry]]:
        """Of one folder, by place."""
        with disk_errors("listing the node store", self._root), suppress(FileNotFoundError):  # it was empty
            for entry in os.scandir(self._root / folder):
                with suppress(FileNotFoundError):  # another process took it away
                    since = entry.stat(follow_symlinks=False).st_ctime
                    place = f"{folder}/{entry.name}"
                    yield place, Entry(self._size(place, promised), since)

    def _closure(self, key: RecordKey, last_used: float, linked: Mapping[Digest, Collection[str]]) -> UsedClosure:
        """It lies where everybody sees it, and where environments of it are linked that not everybody sees."""
        environments = linked.get(key.lockfile, ())
        folders = {f"{SHARED}/", *(place.removesuffix(base_name(place)) for place in environments)}
        names = frozenset(map(base_name, environments))
        return UsedClosure(key, last_used, frozenset(self._sizes[key][1]), names, tuple(sorted(folders)))

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

    def _size(self, place: str, promised: Mapping[str, int]) -> int:
        size = promised.get(base_name(place))
        if size is None:
            size = self._tree_sizes.get(place)
        if size is None:
            size = self._tree_sizes[place] = tree_size(self._root / place)
        return size

    def _lockfile_of(self, place: str) -> Digest | None:
        """Of a linked environment; None for anything else."""
        if place not in self._lockfiles:
            self._lockfiles[place] = _lockfile_digest(self._root / place)
        return self._lockfiles[place]

    def _forget(self, entries: Mapping[str, Entry]) -> None:
        for memory in (self._lockfiles, self._tree_sizes):
            for place in memory.keys() - entries.keys():
                del memory[place]


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

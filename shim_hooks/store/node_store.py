"""The node's store: below `store/` every entry is a complete store path, whatever happened to whoever put it there.

Belongs here: what is there, and how something new comes to be there. Does not: what is in a store path and whether it
may be trusted (`unpack.py`, `environment/`), nor who uses it (`leases.py`).
"""

import errno
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from flox_formats.store_path import StorePath
from shim_hooks.store.closures import ClosureRecords
from shim_hooks.store.disk import disk_errors, sweep_temporary
from shim_hooks.store.group_sync import GroupSync, sync_file_system
from shim_hooks.store.known_generations import KnownGenerations
from shim_hooks.store.linked_environments import LinkedEnvironments
from shim_hooks.store.partial_blobs import PartialBlobs
from shim_hooks.store.pins import Pin, pinned
from shim_hooks.store.staging import Staging
from shim_hooks.store.store_lock import StoreLock
from shim_hooks.store.store_tree import StoreTree

_RETRIED_S = 86400.0
"""For how long somebody may come back for what is left of a download."""

_THERE_ALREADY = {errno.EEXIST, errno.ENOTEMPTY}


class NodeStore:
    """Makes its folders below `root`, sweeping what a crash left. Its methods block: call them in a thread.

    Raises StoreFailed when the disk does not do what it should.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store_dir = root / "store"
        """What is mounted at /nix/store."""
        with disk_errors("preparing the node store", root):
            self.store_dir.mkdir(parents=True, exist_ok=True)
            self.store_dir.chmod(0o755)  # every user of every container looks into it, whatever our umask
            (root / "closures").mkdir(exist_ok=True)
            (root / "closures" / "known").mkdir(exist_ok=True)
            (root / "closures" / "linked").mkdir(exist_ok=True)
        self.tree = StoreTree(self.store_dir)
        self.closures = ClosureRecords(root / "closures")
        self.known_generations = KnownGenerations(root / "closures" / "known")
        self.linked = LinkedEnvironments(root / "closures" / "linked")
        self.partial = PartialBlobs(root / "partial")
        self.lock = StoreLock(root)
        self._staging = Staging(root / "staging")
        self._sync = GroupSync(lambda: sync_file_system(self.store_dir))

    def path_of(self, path: StorePath) -> Path:
        """Where `path` lies on the node, if it is there."""
        return self.store_dir / path.base_name

    def has(self, path: StorePath) -> bool:
        return os.path.lexists(f"{self.store_dir}/{path.base_name}")  # often hundreds of them before a container

    def missing(self, paths: Iterable[StorePath]) -> list[StorePath]:
        return [path for path in paths if not self.has(path)]

    def changed_ns(self) -> int:
        """When an entry last came or went, in the file system's own time."""
        with disk_errors("looking at the node store", self.root):
            return self.store_dir.stat().st_mtime_ns

    def staging(self) -> AbstractContextManager[Path]:
        """An empty directory on the same disk, in which a store path can grow."""
        return self._staging.place()

    def publish(self, staged: Path, path: StorePath) -> None:
        """Puts the complete tree `staged`, which lies in a place of `staging`, under its name.

        Its content is on the disk before its name is, so no power cut leaves a name with less behind it. That the name
        itself may be lost does no harm: the path is fetched again. If another was first, theirs stays.
        """
        self._sync()
        self._publish(staged, path)

    def replace(self, staged: Path, path: StorePath) -> None:
        """Puts the complete tree `staged` in the place of a broken one, or of none. What was there goes."""
        with self.staging() as place:
            self._sync()
            with self.lock.exclusive():
                self.take_away(path.base_name, place)
                self._publish(staged, path)

    def take_away(self, name: str, place: Path) -> None:
        """Moves an entry, by base name, into a place of `staging`, in one step. For who holds `lock` alone."""
        entry = self.store_dir / name
        with disk_errors(f"taking {name} out of the node store", self.root):
            try:
                entry.rename(place / name)
            except FileNotFoundError:
                return
            except PermissionError:
                if entry.is_symlink() or not entry.is_dir():
                    raise
                entry.chmod(0o755)  # as in `publish`
                entry.rename(place / name)

    def sweep(self, *, temporary_before: float) -> None:
        """Removes what the dead left in staging, temporary files older than `temporary_before`, and what is left of
        downloads that nobody went on with for a day longer."""
        with disk_errors("sweeping the node store", self.root):
            self._staging.sweep()
            self.partial.sweep(before=temporary_before - _RETRIED_S)
            for folder in ("closures", "closures/known", "closures/linked", "leases"):
                if (self.root / folder).is_dir():
                    sweep_temporary(self.root / folder, before=temporary_before)

    def pin(self) -> Pin:
        """For what must not be taken away although no container has a lease on it yet. Release it."""
        return Pin(self._staging.own, self.lock)

    def pinned(self) -> frozenset[str]:
        """Base names. For who holds `lock` alone."""
        return pinned(self.root / "staging")

    def close(self) -> None:
        self._staging.close()

    def _publish(self, staged: Path, path: StorePath) -> None:
        with disk_errors(f"putting {path} into the node store", self.root):
            try:
                self._move(staged, path)
            except PermissionError:
                if staged.is_symlink() or not staged.is_dir():
                    raise
                # Who is not root must be able to write in a directory to move it to another parent.
                staged.chmod(0o755)
                self._move(staged, path)
                self.path_of(path).chmod(0o555)

    def _move(self, staged: Path, path: StorePath) -> None:
        try:
            staged.rename(self.path_of(path))
        except OSError as problem:
            if problem.errno not in _THERE_ALREADY:
                raise

"""The node's store: every entry of its folders is a complete store path, whatever happened to whoever put it there.

Belongs here: which folders there are, and how something new comes to be there. Does not: finding a store path in them
(`store_folders.py`), whether it may be trusted (`unpack.py`, `environment/`), nor who uses it (`leases.py`).
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from shim_hooks.store.closures import ClosureRecords
from shim_hooks.store.disk import disk_errors, sweep_temporary
from shim_hooks.store.exchange import exchange
from shim_hooks.store.group_sync import GroupSync, sync_file_system
from shim_hooks.store.known_generations import KnownGenerations
from shim_hooks.store.linked_environments import LinkedEnvironments
from shim_hooks.store.partial_blobs import PartialBlobs
from shim_hooks.store.pins import Pin, pinned
from shim_hooks.store.removal import remove_tree
from shim_hooks.store.staging import Staging
from shim_hooks.store.store_folders import PRIVATE, SHARED, StoreFolders, private_folders
from shim_hooks.store.store_lock import StoreLock

_RETRIED_S = 86400.0
"""For how long somebody may come back for what is left of a download."""

_THERE_ALREADY = {errno.EEXIST, errno.ENOTEMPTY}


_CLOSED = ("closures", "leases", "partial", PRIVATE, "staging")
"""What of the state directory is nobody else's business: lockfiles of private environments lie in it, too."""


class NodeStore:
    """Makes its folders below `root`, sweeping what a crash left. Its methods block: call them in a thread.

    Raises StoreFailed when the disk does not do what it should.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store_dir = root / SHARED
        """What every container sees at /nix/store."""
        with disk_errors("preparing the node store", root):
            root.mkdir(mode=0o711, parents=True, exist_ok=True)
            _give_mode(root, 0o711)  # runtimes mount from below it: in a user namespace as nobody in particular
            for name in _CLOSED:
                (root / name).mkdir(mode=0o700, exist_ok=True)
                _give_mode(root / name, 0o700)
            self.store_dir.mkdir(exist_ok=True)
            self.store_dir.chmod(0o755)  # every user of every container looks into it, whatever our umask
            (root / "closures" / "known").mkdir(exist_ok=True)
            (root / "closures" / "linked").mkdir(exist_ok=True)
        self.public = StoreFolders((self.store_dir,))
        """Where the paths of every environment lie that is shown to everybody."""
        self.closures = ClosureRecords(root / "closures")
        self.known_generations = KnownGenerations(root / "closures" / "known")
        self.linked = LinkedEnvironments(root / "closures" / "linked")
        self.partial = PartialBlobs(root / "partial")
        self.lock = StoreLock(root)
        self._staging = Staging(root / "staging")
        self._sync = GroupSync(lambda: sync_file_system(self.store_dir))

    def private_of(self, environment: EnvironmentName) -> StoreFolders:
        """Where the paths of an environment lie that is not known to be shown to everybody.

        A folder of the environment, not of a generation: the next one fetches only what changed.
        """
        return StoreFolders((self.root / PRIVATE / Digest.of(str(environment).encode()).hex, self.store_dir))

    def all_folders(self) -> list[StoreFolders]:
        """The public ones, and of every environment that has some of its own."""
        return [self.public, *(StoreFolders((own, self.store_dir)) for own in private_folders(self.root))]

    def note_use(self, names: Iterable[str]) -> None:
        """A container has used these, by base name, until now: a use of the closures of the environments among them."""
        for linked in map(self.linked.find, names):
            if linked is not None:
                self.closures.touch(linked.closure)

    def staging(self) -> AbstractContextManager[Path]:
        """An empty directory on the same disk, in which a store path can grow."""
        return self._staging.place()

    def publish(self, staged: Path, place: Path) -> None:
        """Puts the complete tree `staged`, which lies in a place of `staging`, at `place` of a store folder.

        Its content is on the disk before its name is, so no power cut leaves a name with less behind it. That the name
        itself may be lost does no harm: the path is fetched again. If another was first, theirs stays.
        """
        self._make_ready(staged, place)
        self._publish(staged, place)

    @contextmanager
    def taking_away(self) -> Iterator["TakenAway"]:
        """Takes entries out of the store, one by one; they are removed when the context ends.

        Within it hold `lock` alone. Nothing has to be made for it: it works on a disk that is full.
        """
        taken = TakenAway(self, self._staging.own)
        try:
            yield taken
        finally:
            with disk_errors("removing what was taken out of the node store", self.root):
                taken.remove()

    def replace(self, staged: Path, place: Path) -> None:
        """Puts the complete tree `staged` in the place of a broken one, or of none.

        In one step, since a container may use it: what was there lies at `staged` then, and goes with its place.
        """
        self._make_ready(staged, place)
        with self.taking_away() as taken, self.lock.exclusive():
            if self._exchange(staged, place):
                return
            taken.add(place)
            self._publish(staged, place)

    def sweep(self, *, temporary_before: float) -> None:
        """Removes what the dead left in staging, temporary files older than `temporary_before`, what is left of
        downloads that nobody went on with for a day longer, and empty folders."""
        with disk_errors("sweeping the node store", self.root):
            self._staging.sweep()
            self.partial.sweep(before=temporary_before - _RETRIED_S)
            for own in private_folders(self.root):
                with suppress(OSError):  # something lies in it
                    own.rmdir()
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

    def _make_ready(self, staged: Path, place: Path) -> None:
        if place.parent != self.store_dir:
            _cover_what_lies_below(staged)
        self._sync()

    def _publish(self, staged: Path, place: Path) -> None:
        with disk_errors(f"putting {place.name} into the node store", self.root):
            try:
                self._move(staged, place)
            except PermissionError:
                _make_movable(staged)
                self._move(staged, place)
                _seal(place)

    def _exchange(self, staged: Path, place: Path) -> bool:
        """False for a path that is not there, and for a file system that does not do it."""
        with disk_errors(f"putting {place.name} into the node store", self.root):
            try:
                return exchange(staged, place)
            except FileNotFoundError:
                return False
            except PermissionError:
                _make_movable(staged)
                _make_movable(place)
                done = exchange(staged, place)
                _seal(place)
                return done

    def _move(self, staged: Path, place: Path) -> None:
        while True:
            try:
                if place.parent != self.store_dir:
                    _make_private(place.parent)
                staged.rename(place)
            except FileNotFoundError:
                if place.parent == self.store_dir or not os.path.lexists(staged):
                    raise
                continue  # its folder was swept just now, because it was empty
            except OSError as problem:
                if problem.errno not in _THERE_ALREADY:
                    raise
            return


class TakenAway:
    """Entries of a store, moved to where the next process removes them if this one is killed. See `taking_away`."""

    _numbers = count()

    def __init__(self, store: NodeStore, place: Path) -> None:
        self._store, self._place = store, place
        self._moved = list[Path]()
        self.inodes = 0
        """How many files and directories they were, once they are removed."""

    def add(self, entry: Path) -> None:
        """Moves an entry of a store folder, in one step; one that is not there is fine."""
        aside = self._place / f"gone-{next(self._numbers)}"
        with disk_errors(f"taking {entry.name} out of the node store", self._store.root):
            try:
                entry.rename(aside)
            except FileNotFoundError:
                return
            except PermissionError:
                _make_movable(entry)
                entry.rename(aside)
        self._moved.append(aside)

    def remove(self) -> None:
        self.inodes += sum(remove_tree(path) for path in self._moved)
        self._moved.clear()


def _make_movable(path: Path) -> None:
    """Who is not root must be able to write in a directory to move it to another parent."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o755)


def _seal(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o555)


def _cover_what_lies_below(path: Path) -> None:
    """Of the same path in `store/` the overlay shows nothing then: it may be another build, as trusted as this one, and
    of the two in one nobody knows whether it works. Source: https://docs.kernel.org/filesystems/overlayfs.html
    """
    if path.is_dir() and not path.is_symlink():
        with suppress(OSError):  # who may not do that may not mount an overlay either
            os.setxattr(path, "trusted.overlay.opaque", b"y")


def _make_private(folder: Path) -> None:
    """Every user of the containers that see it looks into it; nobody comes to it from outside."""
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def _give_mode(folder: Path, mode: int) -> None:
    """To everybody but its owner, who keeps what was given."""
    found = stat.S_IMODE(folder.stat().st_mode)
    if (found ^ mode) & 0o077:
        folder.chmod(found & 0o700 | mode & 0o077)

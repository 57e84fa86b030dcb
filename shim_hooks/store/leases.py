"""Who uses which store paths: a lease for each container, for as long as its bundle is there.

Belongs here: taking, dropping and listing. Does not: deciding what may go.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, canonical_json, read_object
from flox_formats.store_path import StorePath, StorePathInvalid
from shim_hooks.container_key import KEY
from shim_hooks.errors import Refused, StoreFailed
from shim_hooks.store.disk import disk_errors, write_until_reboot
from shim_hooks.store.store_lock import StoreLock

_MAX_BYTES = 64 * 1024 * 1024
_MAX_NAMES = 16
_SUFFIX = ".json"


class LeaseInvalid(FormatError):
    """A file that is no lease."""


@dataclass(frozen=True, slots=True)
class Lease:
    bundle: Path
    paths: frozenset[StorePath]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        fields = Fields(
            read_object(data, what="lease", max_bytes=_MAX_BYTES, error=LeaseInvalid), where="lease", error=LeaseInvalid
        )
        try:
            return cls(Path(fields.text("bundle")), frozenset(map(StorePath.from_base_name, fields.texts("paths"))))
        except StorePathInvalid as problem:
            raise LeaseInvalid(f"lease: {problem}") from problem

    def to_bytes(self) -> bytes:
        return _document(self.bundle, _names(self.paths))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A lease that was read, and what its file is known again by. `bundle` is None for one that a power cut tore."""

    stamp: tuple[int, int]
    bundle: Path | None
    names: frozenset[str]


class Leases:
    """`<container's key>.json` in `folder`, which is made if it is missing, in the state directory.

    What is called a container id here is its key, which tells apart those of one id. `ended` hears of the base names
    that a lease was on, before it is dropped because its bundle is gone. Its methods block: call them in a thread.
    Raises StoreFailed, and Refused for a container id that is none.
    """

    def __init__(self, folder: Path, *, ended: Callable[[Collection[str]], None] = lambda names: None) -> None:
        self._folder, self._tell_ended = folder, ended
        self._seen = dict[str, _Seen]()
        self._names = deque[tuple[Iterable[StorePath], str]](maxlen=_MAX_NAMES)
        with disk_errors("preparing the leases", folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = StoreLock(folder.parent)

    def take(self, container_id: str, bundle: Path, paths: Iterable[StorePath]) -> None:
        """Before the container is told that it may use them. Taking a lease again replaces the old one.

        From its return on they stay, if they are there: the collection reads leases with the store's lock to itself.
        """
        data, file = self._document(bundle.absolute(), paths), self._file(container_id)
        # Not synced, which takes longer than all the rest: after a power cut no container runs. See `_is_of_this_boot`.
        with self._lock.shared():
            write_until_reboot(file, data)

    def _document(self, bundle: Path, paths: Iterable[StorePath]) -> bytes:
        """As `Lease.to_bytes`, for who leases the same hundreds of paths again and again."""
        names = next((names for known, names in tuple(self._names) if known is paths), None)
        if names is None:
            names = _names(paths)
            if isinstance(paths, tuple):  # which nobody changes
                self._names.append((paths, names))
        return _document(bundle, names)

    def drop(self, container_id: str) -> None:
        """A lease that is not there is dropped already."""
        with disk_errors("dropping a lease", self._folder):
            self._file(container_id).unlink(missing_ok=True)
        self._seen.pop(container_id, None)

    def find(self, container_id: str) -> Lease | None:
        """None where there is none. Raises LeaseInvalid for a file that is no lease: what it holds is then unknown."""
        with disk_errors("reading a lease", self._folder):
            try:
                return Lease.parse(self._file(container_id).read_bytes())
            except FileNotFoundError:
                return None

    def container_ids(self) -> tuple[str, ...]:
        with disk_errors("listing the leases", self._folder):
            names = sorted(file.name for file in self._folder.iterdir() if file.name.endswith(_SUFFIX))
        ids = (name.removesuffix(_SUFFIX) for name in names)
        return tuple(container_id for container_id in ids if KEY.fullmatch(container_id))

    def leased(self) -> frozenset[str]:
        """Base names that some container uses. A lease that was read before is not read again.

        Raises StoreFailed for a file that is no lease: what its container uses is then unknown.
        """
        sets = set[frozenset[str]]()
        for container_id in self.container_ids():
            try:
                lease = self._look(container_id)
            except LeaseInvalid as problem:
                raise StoreFailed(
                    f"{self._file(container_id)} cannot be read, so nobody knows which paths its container uses, and "
                    f"nothing is taken away: {problem}. Remove the file once the container is gone"
                ) from problem
            if lease is not None:
                sets.add(lease.names)
        return frozenset().union(*sets)

    def sweep(self) -> tuple[str, ...]:
        """Drops the leases of containers whose bundle is gone; tells which. One that cannot be read stays.

        Cheap, since it follows every delete: a lease that was read before is not read again.
        """
        dropped = tuple(container_id for container_id in self.container_ids() if self._drop_if_gone(container_id))
        for container_id in self._seen.keys() - set(self.container_ids()):
            self._seen.pop(container_id, None)  # another process has dropped it
        return dropped

    def _drop_if_gone(self, container_id: str) -> bool:
        """Looks once more, while nobody can take a lease: a container of the same id may have begun meanwhile."""
        ended = self._without_bundle(container_id)
        if ended is None:
            return False
        self._tell_ended(ended.names)
        with self._lock.exclusive():
            if self._without_bundle(container_id) is None:
                return False
            self.drop(container_id)
        return True

    def _look(self, container_id: str) -> _Seen | None:
        """None for one that was dropped just now. Raises LeaseInvalid."""
        file = self._file(container_id)
        with disk_errors("reading a lease", self._folder):
            try:
                status = file.stat()
                stamp = status.st_ino, status.st_mtime_ns
                seen = self._seen.get(container_id)
                if seen is None or seen.stamp != stamp:
                    seen = self._seen[container_id] = self._read(file, status, stamp)
            except FileNotFoundError:
                return None
        return seen

    def _read(self, file: Path, status: os.stat_result, stamp: tuple[int, int]) -> _Seen:
        try:
            lease = Lease.parse(file.read_bytes())
        except LeaseInvalid:
            if _is_of_this_boot(status):
                raise
            return _Seen(stamp, None, frozenset())
        names = frozenset(path.base_name for path in lease.paths)
        same = (seen.names for seen in tuple(self._seen.values()) if seen.names == names)
        return _Seen(stamp, lease.bundle, next(same, names))  # many containers, few environments

    def _without_bundle(self, container_id: str) -> _Seen | None:
        """The lease, if its bundle is gone."""
        try:
            lease = self._look(container_id)
        except LeaseInvalid:
            return None
        return lease if lease is not None and (lease.bundle is None or _is_gone(lease.bundle)) else None

    def _file(self, container_id: str) -> Path:
        if KEY.fullmatch(container_id) is None:
            raise Refused(
                f"container id {container_id[:100]!r}: want letters, digits, '_', '+', '-' and '.', at most 200 of them"
            )
        return self._folder / f"{container_id}{_SUFFIX}"


def _is_gone(bundle: Path) -> bool:
    """False also where nobody can say, as on a disk that fails: its container may run."""
    try:
        bundle.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _document(bundle: Path, names: str) -> bytes:
    """`names` is a JSON array already."""
    return b'{"bundle":%b,"paths":%b}' % (canonical_json(str(bundle)), names.encode())


def _names(paths: Iterable[StorePath]) -> str:
    return canonical_json(sorted({path.base_name for path in paths})).decode()


def _is_of_this_boot(status: os.stat_result) -> bool:
    """Whether a file that is no lease may have been one whose container runs.

    A lease is not synced, and so a power cut may leave anything of it. What was written before it nobody uses.
    """
    return status.st_mtime >= time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

"""Closures that were complete on this node: with their record, a container can start without asking anyone.

Belongs here: keeping lockfile and closure document together. Does not: whether all of its paths are still there
(`NodeStore.missing`); a record is only what to look for.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flox_formats.closure import ClosureDocument
from flox_formats.digest import Digest
from flox_formats.errors import FormatError
from flox_formats.lockfile import Lockfile
from flox_formats.system import System
from shim_hooks.registry.environment import RegistryEnvironment, RegistryEnvironmentInvalid
from shim_hooks.store.disk import disk_errors, write_whole
from shim_hooks.store.remembered import Remembered

LOCKFILE, DOCUMENT, ORIGIN = ".lock", ".json", ".origin"
_MAX_PARSED_BYTES = 96 * 1024 * 1024
_LOCKFILE_FACTOR, _DOCUMENT_FACTOR = 16, 5
"""How many times their bytes they can take in memory, measured of some that were made to take much. Ordinary ones take
less, so there is room for thirty of them, with 500 paths each.
"""


@dataclass(frozen=True, slots=True)
class RecordKey:
    lockfile: Digest
    system: System

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Of a document's file name; None for a name of something else."""
        hexadecimal, _, system = name.removesuffix(DOCUMENT).partition("-")
        try:
            return cls(Digest.parse(f"sha256:{hexadecimal}"), System(system)) if name.endswith(DOCUMENT) else None
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.lockfile.hex}-{self.system}"


@dataclass(frozen=True, slots=True)
class ClosureRecord:
    lockfile: Lockfile
    document: ClosureDocument

    @property
    def key(self) -> RecordKey:
        return RecordKey(self.lockfile.digest, self.document.system)


class ClosureRecords:
    """From any thread. `<lockfile hex>.lock` and `<lockfile hex>-<system>.json` in `folder`. All modes share them.

    When a container last used it is the time at which the document was changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed = Remembered[RecordKey, ClosureRecord](_MAX_PARSED_BYTES)

    def find(self, lockfile: Digest, system: System) -> ClosureRecord | None:
        """None where there is none, or where what there is cannot be read: then it is fetched again."""
        key = RecordKey(lockfile, system)
        record = self._parsed.find(key)
        if record is None:
            read = self._read(key)
            if read is None:
                return None
            record, size = read
            # Parsing costs more than a container's start has room for.
            self._parsed.keep(key, record, size)
        return record

    def keep(self, record: ClosureRecord, *, origin: RegistryEnvironment | None = None) -> None:
        """For a closure whose paths are all in the store. `origin` is where it could be fetched again."""
        lock, closure = self._files(record.key)
        if origin is not None:
            write_whole(closure.with_suffix(ORIGIN), origin.to_bytes())
        document = record.document.to_bytes()
        write_whole(lock, record.lockfile.data)
        write_whole(closure, document)
        self._parsed.keep(record.key, record, _size(record.lockfile.data, document))

    def use(self, record: ClosureRecord) -> None:
        """As `touch`. One that was taken away from the disk while all of its paths were still there is kept again."""
        if not self.touch(record.key):
            self.keep(record)

    def touch(self, key: RecordKey) -> bool:
        """Notes that it is used now: of those that nobody uses, the collection takes the one used least recently.

        False for one that is not there.
        """
        try:
            os.utime(self._files(key)[1])
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a worse choice, later, is no reason to start no container now
        return True

    def recorded(self) -> tuple[RecordKey, ...]:
        with disk_errors("listing the closure records", self._folder):
            found = (RecordKey.parse(entry.name) for entry in os.scandir(self._folder))
            return tuple(key for key in found if key is not None)

    def stamp(self, key: RecordKey) -> tuple[int, float] | None:
        """Which file holds the document, by its inode, and when the closure was used last; None where it is gone."""
        with disk_errors("looking at a closure record", self._folder):
            try:
                status = self._files(key)[1].stat()
            except FileNotFoundError:
                return None
        return status.st_ino, status.st_mtime

    def read(self, key: RecordKey) -> ClosureRecord | None:
        """As `find`, from the disk, and without remembering it."""
        read = self._read(key)
        return None if read is None else read[0]

    def origin(self, key: RecordKey) -> RegistryEnvironment | None:
        """Where it came from; None where nobody knows any more."""
        with disk_errors("reading where a closure came from", self._folder):
            try:
                data = self._files(key)[1].with_suffix(ORIGIN).read_bytes()
            except FileNotFoundError:
                return None
        try:
            return RegistryEnvironment.parse(data)
        except RegistryEnvironmentInvalid:
            return None

    def drop(self, key: RecordKey) -> None:
        """Before the first of its paths goes: what it names is then no closure any more, only paths."""
        self._parsed.drop(key)
        lock, closure = self._files(key)
        with disk_errors("dropping a closure record", self._folder):
            closure.unlink(missing_ok=True)
            closure.with_suffix(ORIGIN).unlink(missing_ok=True)
            if not any(other.lockfile == key.lockfile for other in self.recorded()):
                lock.unlink(missing_ok=True)

    def _read(self, key: RecordKey) -> tuple[ClosureRecord, int] | None:
        """With about how many bytes of memory it takes."""
        lock, closure = self._files(key)
        with disk_errors("reading a closure record", self._folder):
            try:
                lock_bytes, closure_bytes = lock.read_bytes(), closure.read_bytes()
            except FileNotFoundError:
                return None
        if Digest.of(lock_bytes) != key.lockfile:
            return None
        try:
            record = ClosureRecord(Lockfile.parse(lock_bytes), ClosureDocument.parse(closure_bytes))
        except FormatError:
            return None
        return (record, _size(lock_bytes, closure_bytes)) if record.key == key else None

    def _files(self, key: RecordKey) -> tuple[Path, Path]:
        return self._folder / f"{key.lockfile.hex}{LOCKFILE}", self._folder / f"{key}{DOCUMENT}"


def _size(lockfile: bytes, document: bytes) -> int:
    return len(lockfile) * _LOCKFILE_FACTOR + len(document) * _DOCUMENT_FACTOR

"""Closures that were complete on this node: with their record, a container can start without asking anyone.

Belongs here: keeping lockfile and closure document together. Does not: whether all of its paths are still there
(`NodeStore.missing`); a record is only what to look for.
"""

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from flox_formats.closure import ClosureDocument
from flox_formats.digest import Digest
from flox_formats.errors import FormatError
from flox_formats.lockfile import Lockfile
from flox_formats.system import System
from shim_hooks.registry_environment import RegistryEnvironment
from shim_hooks.store.disk import disk_errors, write_whole

LOCKFILE, DOCUMENT, ORIGIN = ".lock", ".json", ".origin"
_MAX_PARSED = 32


@dataclass(frozen=True, slots=True)
class ClosureRecord:
    lockfile: Lockfile
    document: ClosureDocument


class ClosureRecords:
    """From any thread. `<lockfile hex>.lock` and `<lockfile hex>-<system>.json` in `folder`. All modes share them.

    When a container last used it is the time at which the document was changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed: OrderedDict[tuple[Digest, System], ClosureRecord] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, lockfile: Digest, system: System) -> ClosureRecord | None:
        """None where there is none, or where what there is cannot be read: then it is fetched again."""
        with self._lock:
            record = self._parsed.get((lockfile, system))
        if record is None:
            record = self._read(lockfile, system)
        if record is not None:
            self._note(record)
        return record

    def keep(self, record: ClosureRecord, *, origin: RegistryEnvironment | None = None) -> None:
        """For a closure whose paths are all in the store. `origin` is where it could be fetched again."""
        lock, closure = self._files(record.lockfile.digest, record.document.system)
        if origin is not None:
            write_whole(closure.with_suffix(ORIGIN), origin.to_bytes())
        write_whole(lock, record.lockfile.data)
        write_whole(closure, record.document.to_bytes())
        self._note(record)

    def use(self, record: ClosureRecord) -> None:
        """Notes that it is used now: of those that nobody uses, the collection takes the one used least recently."""
        _, closure = self._files(record.lockfile.digest, record.document.system)
        try:
            os.utime(closure)
        except FileNotFoundError:
            self.keep(record)  # it was taken away from the disk while all of its paths were still there
        except OSError:
            return  # a worse choice, later, is no reason to start no container now

    def _note(self, record: ClosureRecord) -> None:
        """Parsing costs more than a container's start has room for, so the last few are kept."""
        key = record.lockfile.digest, record.document.system
        with self._lock:
            self._parsed[key] = record
            self._parsed.move_to_end(key)
            if len(self._parsed) > _MAX_PARSED:
                self._parsed.popitem(last=False)

    def _read(self, lockfile: Digest, system: System) -> ClosureRecord | None:
        lock, closure = self._files(lockfile, system)
        with disk_errors("reading a closure record", self._folder):
            try:
                lock_bytes, closure_bytes = lock.read_bytes(), closure.read_bytes()
            except FileNotFoundError:
                return None
        if Digest.of(lock_bytes) != lockfile:
            return None
        try:
            record = ClosureRecord(Lockfile.parse(lock_bytes), ClosureDocument.parse(closure_bytes))
        except FormatError:
            return None
        return record if record.document.system == system else None

    def _files(self, lockfile: Digest, system: System) -> tuple[Path, Path]:
        return self._folder / f"{lockfile.hex}{LOCKFILE}", self._folder / f"{lockfile.hex}-{system}{DOCUMENT}"

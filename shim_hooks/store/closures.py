"""Closures that were complete on this node: with their record, a container can start without asking anyone.

Belongs here: keeping lockfile and closure document together. Does not: whether all of its paths are still there
(`NodeStore.missing`); a record is only what to look for.
"""

from dataclasses import dataclass
from pathlib import Path

from flox_formats.closure import ClosureDocument
from flox_formats.digest import Digest
from flox_formats.errors import FormatError
from flox_formats.lockfile import Lockfile
from flox_formats.system import System
from shim_hooks.store.disk import disk_errors, write_whole


@dataclass(frozen=True, slots=True)
class ClosureRecord:
    lockfile: Lockfile
    document: ClosureDocument


class ClosureRecords:
    """`<lockfile hex>.lock` and `<lockfile hex>-<system>.json` in `folder`. All modes of an environment share them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, lockfile: Digest, system: System) -> ClosureRecord | None:
        """None where there is none, or where what there is cannot be read: then it is fetched again."""
        lock, closure = self._files(lockfile, system)
        with disk_errors("reading a closure record", self._folder):
            try:
                lock_bytes, closure_bytes = lock.read_bytes(), closure.read_bytes()
            except FileNotFoundError:
                return None
        if Digest.of(lock_bytes) != lockfile:
            return None
        try:
            return ClosureRecord(Lockfile.parse(lock_bytes), ClosureDocument.parse(closure_bytes))
        except FormatError:
            return None

    def keep(self, record: ClosureRecord) -> None:
        """For a closure whose paths are all in the store."""
        lock, closure = self._files(record.lockfile.digest, record.document.system)
        write_whole(lock, record.lockfile.data)
        write_whole(closure, record.document.to_bytes())

    def _files(self, lockfile: Digest, system: System) -> tuple[Path, Path]:
        return self._folder / f"{lockfile.hex}.lock", self._folder / f"{lockfile.hex}-{system}.json"

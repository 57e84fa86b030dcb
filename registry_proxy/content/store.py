"""The content store: files by digest, whole or absent, verified while they are written (design 7).

All of it blocks and belongs in a thread. `<root>/sha256/<ab>/<hex>`; staging is swept when the store is opened.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flox_formats.digest import Digest
from registry_proxy.content.durable import flush_folder, storage_failed
from registry_proxy.content.tally import Tally


class DigestMismatch(Exception):
    """Bytes that are not what their digest promised."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A file whose bytes were verified when they were written. `size` is bytes."""

    path: Path
    size: int


class ContentStore:
    """Raises StorageFailed where the disk does not do what is asked."""

    def __init__(self, root: Path) -> None:
        self._root, self._staging = root, root / ".staging"
        self.tally = Tally()
        try:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir(parents=True)
        except OSError as error:
            raise storage_failed(root, error) from error

    def count(self) -> None:
        """Brings `tally` up to date with what was here before. Blocks for as long as it takes to look at every file."""
        self.tally.count(self._root / "sha256")

    def find(self, digest: Digest) -> StoredBlob | None:
        path = self._place(digest)
        try:
            return StoredBlob(path, path.stat().st_size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_failed(path, error) from error

    def read(self, digest: Digest) -> bytes | None:
        """A small blob, whole."""
        try:
            return self._place(digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_failed(self._place(digest), error) from error

    def keep(self, data: bytes) -> StoredBlob:
        digest = Digest.of(data)
        found = self.find(digest)
        if found is not None:
            return found
        staged = self.stage()
        try:
            staged.write(data)
            return staged.commit(digest)
        finally:
            staged.discard()

    def stage(self) -> "StagedBlob":
        """A new blob, to be written, then committed or discarded."""
        try:
            self._staging.mkdir(parents=True, exist_ok=True)  # an operator may have emptied everything
            return StagedBlob.create(self._staging, self._root, self.tally)
        except OSError as error:
            raise storage_failed(self._staging, error) from error

    def _place(self, digest: Digest) -> Path:
        return place(self._root, digest)


class StagedBlob:
    """A blob under way. Not safe for two writers; readers may follow at `path`, until it is committed or discarded."""

    def __init__(self, path: Path, handle: int, root: Path, tally: Tally) -> None:
        self.path = path
        self._handle, self._root, self._tally = handle, root, tally
        self._hash, self._size = hashlib.sha256(), 0
        self._open = True

    @classmethod
    def create(cls, staging: Path, root: Path, tally: Tally) -> Self:
        handle, name = tempfile.mkstemp(dir=staging)
        return cls(Path(name), handle, root, tally)

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise storage_failed(self.path, error) from error
        self._size += len(data)

    def commit(self, digest: Digest | None) -> StoredBlob:
        """Moves the bytes to their place. Raises DigestMismatch unless they are those of `digest`, if that is known."""
        found = self.digest
        if digest is not None and found != digest:
            raise DigestMismatch(f"{self._size} bytes have the digest {found}, promised was {digest}")
        target = place(self._root, found)
        try:
            os.fsync(self._handle)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._tally.move_into_place(self.path, target, self._size)
            flush_folder(target.parent)
        except OSError as error:
            raise storage_failed(target, error) from error
        self.discard()
        return StoredBlob(target, self._size)

    @property
    def digest(self) -> Digest:
        """Of what is written so far."""
        return Digest(self._hash.hexdigest())

    def discard(self) -> None:
        """Leaves nothing; after a commit it changes nothing."""
        if self._open:
            self._open = False
            os.close(self._handle)
            self.path.unlink(missing_ok=True)


def place(root: Path, digest: Digest) -> Path:
    return root / "sha256" / digest.hex[:2] / digest.hex

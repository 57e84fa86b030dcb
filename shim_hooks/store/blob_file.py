"""A blob on its way from the registry to the disk: written piece by piece, hashed while it is, believed at the end.

Belongs here: the file and the digest. Asking for the pieces is `registry_client.py`'s.
"""

import hashlib
from pathlib import Path

from flox_formats.digest import Digest
from shim_hooks.errors import ContentRejected
from shim_hooks.store.disk import disk_errors


class BlobFile:
    """Grows at `path`, which must not exist. Its methods block: call them in a thread. Raises StoreFailed."""

    def __init__(self, path: Path, digest: Digest, size: int) -> None:
        self._path, self._digest, self._size = path, digest, size
        with disk_errors(f"fetching blob {digest}", path.parent):
            self._file = path.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self.position = 0

    def write(self, piece: bytes) -> None:
        """The next bytes. Raises ContentRejected when they are more than there can be."""
        if self.position + len(piece) > self._size:
            raise ContentRejected(f"blob {self._digest}: more than the {self._size} bytes that the closure promises")
        with disk_errors(f"fetching blob {self._digest}", self._path.parent):
            left = memoryview(piece)
            while left:
                left = left[self._file.write(left) :]
        self._hash.update(piece)
        self.position += len(piece)

    def restart(self) -> None:
        """From byte 0, for a registry that will not go on where it was cut off."""
        with disk_errors(f"fetching blob {self._digest}", self._path.parent):
            self._file.seek(0)
            self._file.truncate()
        self._hash = hashlib.sha256()
        self.position = 0

    @property
    def is_complete(self) -> bool:
        return self.position == self._size

    def check(self) -> None:
        """Raises ContentRejected unless the bytes are those of the digest."""
        found = self._hash.hexdigest()
        if found != self._digest.hex:
            raise ContentRejected(
                f"blob {self._digest}: the registry sent other bytes, of sha256:{found}. "
                "If it stays so, look at the registry's disk and at what lies between"
            )

    def close(self) -> None:
        self._file.close()

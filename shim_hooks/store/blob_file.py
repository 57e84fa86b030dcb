"""A blob on its way from the registry to the disk: written piece by piece, hashed while it is, believed at the end.

Belongs here: the file and the digest, and that nobody else writes to it. Asking for the pieces is
`registry/client.py`'s, which files stay for another try is `partial_blobs.py`'s.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from contextlib import suppress
from io import FileIO
from pathlib import Path

from flox_formats.digest import Digest
from shim_hooks.errors import ContentRejected
from shim_hooks.store.disk import disk_errors

_PIECE_BYTES = 1024 * 1024


class BlobFile:
    """`open` it, then `close` it whatever happened. Its methods block: call them in a thread. Raises StoreFailed.

    It grows at `path`, after what an earlier try left there, or at `otherwise` while somebody else has that file.
    `position` is how many bytes are there, `kept` how many of them came before it was opened.
    """

    def __init__(self, digest: Digest, size: int, *, path: Path, otherwise: Path) -> None:
        self.digest, self.size, self.path, self._otherwise = digest, size, path, otherwise
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()
        self.position = self.kept = 0

    def open(self) -> None:
        """What is there already is hashed anew: nobody knows what became of it since.

        Raises StoreFailed, too, when the disk has no room for the rest. Other pods need the disk, so it is not filled
        first, and of a path that is addressed by its content a closure can promise any size.
        """
        with disk_errors(f"fetching blob {self.digest}", self.path.parent):
            self._file = claim(self.path, create=True)
            if self._file is None:
                self.path = self._otherwise
                self._file = FileIO(self.path, "x+")
            if os.fstat(self._file.fileno()).st_size <= self.size:
                while piece := self._file.read(_PIECE_BYTES):
                    self._count(piece)
                self.kept = self.position
            else:
                self.restart()
            if self.size - self.position > shutil.disk_usage(self.path.parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, piece: bytes) -> None:
        """The next bytes. Raises ContentRejected when they are more than there can be."""
        if self.position + len(piece) > self.size:
            raise ContentRejected(f"blob {self.digest}: more than the {self.size} bytes that the closure promises")
        with disk_errors(f"fetching blob {self.digest}", self.path.parent):
            left = memoryview(piece)
            while left:
                left = left[self._opened.write(left) :]
        self._count(piece)

    def restart(self) -> None:
        """From byte 0, for a registry that will not go on where it was cut off."""
        with disk_errors(f"fetching blob {self.digest}", self.path.parent):
            self._opened.seek(0)
            self._opened.truncate()
        self._hash = hashlib.sha256()
        self.position = self.kept = 0

    @property
    def is_complete(self) -> bool:
        return self.position == self.size

    @property
    def is_right(self) -> bool:
        return self._hash.hexdigest() == self.digest.hex

    def check(self) -> None:
        """Raises ContentRejected unless the bytes are those of the digest."""
        if not self.is_right:
            raise ContentRejected(
                f"blob {self.digest}: the registry sent other bytes, of sha256:{self._hash.hexdigest()}. "
                "If it stays so, look at the registry's disk and at what lies between"
            )

    def discard(self) -> None:
        """Takes it off the disk: it is of no more use, or it never was."""
        if self._file is not None:
            with suppress(OSError):  # then it is swept one day
                self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """What is there stays for the next try; twice is fine."""
        if self._file is not None:
            if not self.position:
                self.discard()
            self._file.close()
            self._file = None

    @property
    def _opened(self) -> FileIO:
        assert self._file is not None, "open it first"
        return self._file

    def _count(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.position += len(piece)


def claim(path: Path, *, create: bool = False) -> FileIO | None:
    """The file at `path`, for nobody else as long as it is open; None while it is somebody else's. Raises OSError.

    The kernel gives it back when who has it dies.
    """
    while True:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        file = FileIO(os.open(path, flags, 0o600), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                return file
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        file.close()  # whoever had it took it off the disk before it was ours


def _is_at(path: Path, file: FileIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False

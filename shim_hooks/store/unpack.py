"""From a blob to a store path: decompressed, unpacked and compared with what was promised of it.

Belongs here: that nothing is believed before its NAR hash matched. Whether the promise itself may be believed is
`verify_path`'s to say, of `flox_formats/narinfo.py`.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from flox_formats.closure import ClosurePath
from flox_formats.nar import restore
from flox_formats.nar_reader import NarInvalid
from shim_hooks.errors import ContentRejected
from shim_hooks.store.decompression import DecompressedFile
from shim_hooks.store.disk import disk_errors


def unpack(blob: Path, path: ClosurePath, target: Path) -> None:
    """Makes the tree `target`, which must not exist, in a place that is swept whether this ends well or not.

    Raises ContentRejected unless the tree is exactly the promised one, StoreFailed when the disk does not do it.
    Memory does not grow with the tree, and nothing is written beyond the size that was promised.
    """
    with DecompressedFile(blob, path.compression) as file, disk_errors(f"unpacking {path.store_path}", target.parent):
        nar = _PromisedNar(file.read, path)
        try:
            restore(nar.read, target)
        except NarInvalid as problem:
            raise ContentRejected(f"{path.store_path}: {problem}") from problem
        nar.check()


class _PromisedNar:
    """Hashes what is read, and reads no more than was promised."""

    def __init__(self, read: Callable[[int], bytes], path: ClosurePath) -> None:
        self._read, self._path = read, path
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int) -> bytes:
        try:
            piece = self._read(size)
        except ContentRejected as problem:
            raise ContentRejected(f"{self._path.store_path}: {problem}") from problem
        self._hash.update(piece)
        self._size += len(piece)
        if self._size > self._path.nar_size:
            raise ContentRejected(
                f"{self._path.store_path}: its NAR has more than the promised {self._path.nar_size} bytes"
            )
        return piece

    def check(self) -> None:
        if self._size != self._path.nar_size or self._hash.hexdigest() != self._path.nar_hash.hex:
            raise ContentRejected(
                f"{self._path.store_path}: its NAR has {self._size} bytes of sha256:{self._hash.hexdigest()}, promised "
                f"were {self._path.nar_size} of {self._path.nar_hash}; the cache it came from is damaged or lying"
            )

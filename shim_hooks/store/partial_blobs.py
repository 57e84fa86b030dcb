"""Blobs that have not come whole: `partial/<sha256 in hex>`, where the next try goes on, also after a kill -9.

Belongs here: where they lie, and which of them go. Does not: their bytes and whose they are (`blob_file.py`). None of
this is in the store: what is here has to match its digest and then its NAR hash, like what comes off the network.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from flox_formats.digest import Digest
from shim_hooks.store.blob_file import BlobFile, claim
from shim_hooks.store.disk import disk_errors

_SHARE = 0.5
"""Of what is free on the disk. Unpacked they take several times as much, so more of them would come to nothing."""


class PartialBlobs:
    """Makes its folder. Its methods block: call them in a thread. Raises StoreFailed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with disk_errors("preparing the node store", folder):
            folder.mkdir(mode=0o700, exist_ok=True)  # of private environments, too

    def blob(self, digest: Digest, size: int, *, otherwise: Path) -> BlobFile:
        """Its file, to be opened; `otherwise` is a place for who finds that another one is fetching it just now."""
        return BlobFile(digest, size, path=self._folder / digest.hex, otherwise=otherwise)

    def sweep(self, *, before: float) -> None:
        """Removes what nobody fetches: what last grew before a time, and the oldest of what is too much."""
        with disk_errors("sweeping what is left of downloads", self._folder):
            room = int(shutil.disk_usage(self._folder).free * _SHARE)
            for changed, size, path in sorted(self._left(), reverse=True):
                if changed < before or size > room:
                    _remove(path)
                else:
                    room -= size

    def _left(self) -> list[tuple[float, int, Path]]:
        found = list[tuple[float, int, Path]]()
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                if not entry.is_file(follow_symlinks=False):
                    continue  # none of ours
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime, status.st_size, Path(entry)))
        return found


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        file = claim(path)
        if file is not None:
            with file:
                path.unlink()

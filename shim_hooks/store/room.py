"""What a disk has room for: bytes, and inodes, of which a store of many small files may need more.

Belongs here: looking. Does not: how much of it is enough (`collector.py`, `doctor/store_check.py`).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Room:
    """Of a file system. `inodes` is 0 for one that does not count them."""

    total_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int

    @classmethod
    def look(cls, path: Path) -> Self:
        """Raises OSError."""
        found = os.statvfs(path)
        return cls(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)

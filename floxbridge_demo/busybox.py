"""The one static program that the demo's packages and its pods' sandbox are made of.

Belongs here: finding it, and telling a static one from one that needs libraries.
"""

import shutil
import struct
from pathlib import Path

_INTERPRETER = 3  # PT_INTERP: the program needs a dynamic linker, and an empty container has none
_HEADER = struct.Struct("<4sB27xQ14xHH")  # magic, class; offset, entry size and number of the program headers
_CLASS_64 = 2


class BusyboxMissing(Exception):
    """There is no static busybox on this machine."""


def static_busybox() -> Path:
    """Debian's busybox-static, or anybody's. Raises BusyboxMissing."""
    found = shutil.which("busybox")
    if found is None or not is_static(Path(found).read_bytes()):
        raise BusyboxMissing("a static busybox is not installed: Debian has it in the package busybox-static")
    return Path(found)


def is_static(program: bytes) -> bool:
    """Whether these bytes are a 64-bit ELF program without an interpreter. Source: elf(5)"""
    if len(program) < _HEADER.size:
        return False
    magic, bits, offset, size, number = _HEADER.unpack_from(program)
    if magic != b"\x7fELF" or bits != _CLASS_64 or offset + size * number > len(program):
        return False
    kinds = [int.from_bytes(program[at : at + 4], "little") for at in range(offset, offset + size * number, size or 1)]
    return _INTERPRETER not in kinds

"""A lock on a file that whoever wonders can look at without taking it, as nobody can at one of flock(2).

Belongs here: taking it, waiting for it, looking at it. It is of the open file, with all its duplicates, and the kernel
unlocks it when the last of these is closed. Source: fcntl(2), open file description locks.
"""

import fcntl
import os
import struct

_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of a 64-bit Linux: type, whence, start, length, pid."""

_TO_THE_END = 0


def try_lock(file: int) -> bool:
    """Whether it is ours now. `file` is open for writing."""
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _request())
    except BlockingIOError:
        return False
    return True


def wait_for_lock(file: int) -> None:
    fcntl.fcntl(file, fcntl.F_OFD_SETLKW, _request())


def is_locked(file: int) -> bool:
    """Whether another open file has it. Nothing is taken, so nobody else is kept from it for a moment."""
    kind, *_ = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, _request()))
    return bool(kind != fcntl.F_UNLCK)


def _request() -> bytes:
    return _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, _TO_THE_END, 0)

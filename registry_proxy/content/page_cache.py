"""Reading files that are probably in the kernel's page cache, as what is served again and again is.

Belongs here: reading without a thread where the kernel has the bytes at hand, since changing threads costs more than
copying half a mebibyte; and with one where it would have to wait for the disk. preadv(2), RWF_NOWAIT.
"""

import asyncio
import errno
import os

import anyio
import anyio.to_thread

PIECE_BYTES = 512 * 1024
"""What is read at once at most: the event loop does nothing else meanwhile."""

_PROBE_BYTES = 256 * 1024

_NOT_AT_HAND = frozenset((errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS))
"""Not in the cache; a file system, or a kernel, that cannot tell."""


async def read_at(
    handle: int, count: int, offset: int, *, limiter: anyio.CapacityLimiter | None = None
) -> bytes | memoryview:
    """From 1 byte to `count`, and to PIECE_BYTES; none at the end of the file. Raises OSError.

    Lets others have their turn, however fast it was: a client that takes as fast as it is read for would keep them out.
    """
    count = min(count, PIECE_BYTES)
    found = _at_hand(handle, count, offset)
    if found is None:
        return await anyio.to_thread.run_sync(os.pread, handle, count, offset, limiter=limiter)
    await asyncio.sleep(0)
    return found


def is_at_hand(handle: int, count: int, offset: int) -> bool:
    """Whether the kernel has these bytes in memory, told by some of them: it reads and lets go of many pages together.

    False where it cannot tell. Does not block.
    """
    byte = bytearray(1)
    last = offset + count - 1
    try:
        return all(
            os.preadv(handle, [byte], min(at, last), os.RWF_NOWAIT) == 1
            for at in range(offset, last + _PROBE_BYTES, _PROBE_BYTES)
        )
    except OSError:  # whoever reads it all the same learns why
        return False


def _at_hand(handle: int, count: int, offset: int) -> memoryview | None:
    """What of it the kernel has in memory; None where it has none of it, or would have to look."""
    buffer = bytearray(count)
    try:
        size = os.preadv(handle, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in _NOT_AT_HAND:
            return None
        raise
    return memoryview(buffer)[:size]

"""Memory that Python has let go of, given back to the kernel: an agent is idle for days, and fetches for seconds.

Belongs here: asking glibc for it. By itself it keeps what its threads had for the next time (malloc_trim(3)).
"""

import ctypes


def give_back() -> None:
    """Takes some milliseconds: call it in a thread. Another libc has nothing to be asked for."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

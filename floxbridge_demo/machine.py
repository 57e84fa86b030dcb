"""What this machine is and lets us do.

Belongs here: questions to the kernel, and the one wish that it grants this process.
"""

import ctypes
import platform
import re
import signal
import sys
from pathlib import Path

from flox_formats.system import System

_CAP_SYS_ADMIN = 1 << 21
_PR_SET_PDEATHSIG = 1


class MachineUnknown(Exception):
    """A kind of machine that no container of ours runs on."""


def native_system() -> System:
    try:
        return System(f"{platform.machine()}-linux")
    except ValueError:
        raise MachineUnknown(f"this machine is {platform.machine()}; known are {', '.join(System)}") from None


def may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN. Root has it not in a container that is not privileged."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found.group(1), 16) & _CAP_SYS_ADMIN)


def end_with_parent() -> None:
    """When the parent dies, however it does, this process ends in its turn, and tidies as it goes."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

"""What this machine is and lets us do.

Belongs here: looking. Nothing is changed.
"""

import platform
import re
from pathlib import Path

from flox_formats.system import System

_CAP_SYS_ADMIN = 1 << 21


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

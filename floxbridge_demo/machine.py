"""Whether this machine lets us run containers.

Belongs here: looking, and saying what is missing. Nothing is changed.
"""

import os
import re
import shutil
from pathlib import Path

from floxbridge_demo.containerd import ContainerdBinaries

_CAP_SYS_ADMIN = 1 << 21


def why_no_containers() -> str | None:
    """What stands in the way, for a person, or None."""
    if os.geteuid() != 0:
        return "this user is not root, and containers need mounts and namespaces: run it with sudo"
    if not _capabilities() & _CAP_SYS_ADMIN:
        return "root may not mount anything here (no CAP_SYS_ADMIN), as in a container that is not privileged"
    if ContainerdBinaries.find() is None:
        return "containerd is not installed: Debian has it in the package containerd"
    if shutil.which("runc") is None:
        return "runc is not installed: Debian has it in the package runc"
    return None


def _capabilities() -> int:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found.group(1), 16) if found else 0

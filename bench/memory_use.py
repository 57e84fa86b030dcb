"""What a program holds in memory, as the kernel counts it: proc(5)."""

import re
from pathlib import Path

_KIB = 1024


def resident_bytes(pid: int) -> int:
    """Now."""
    return status_bytes(Path(f"/proc/{pid}/status").read_text(), "VmRSS")


def resident_peak_bytes(pid: int) -> int:
    """The most that was resident since the process began, or since `forget_peak`."""
    return status_bytes(Path(f"/proc/{pid}/status").read_text(), "VmHWM")


def forget_peak(pid: int) -> None:
    """What is resident now is the peak from here on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def status_bytes(status: str, name: str) -> int:
    """A size in /proc/<pid>/status. Raises KeyError where there is none."""
    match = re.search(rf"^{re.escape(name)}:\s*([0-9]+) kB$", status, re.MULTILINE)
    if match is None:
        raise KeyError(name)
    return int(match.group(1)) * _KIB

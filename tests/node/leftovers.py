"""What a run left on this machine: looked for by other means than those that remove it."""

import subprocess
from pathlib import Path

from floxbridge_demo.workplace import Workplace


def leftovers(workplace: Workplace) -> list[str]:
    """What this machine still has of a workplace, outside of its folder. A process that only waits to be reaped by
    init has no arguments any more."""
    mark = str(workplace.folder)
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if mark in line]
    cgroups = [str(it) for it in Path("/sys/fs/cgroup").glob(f"**{workplace.cgroup}")]
    listed = subprocess.run(["ps", "axww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    processes = [line for line in listed.splitlines() if mark in line]
    return [
        *(f"process: {it}" for it in processes),
        *(f"mount: {it}" for it in mounts),
        *(f"cgroup: {it}" for it in cgroups),
    ]

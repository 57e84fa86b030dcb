"""Who was measured on what: the versions of the peers, and this machine.

Belongs here: asking and reading. Nothing is measured.
"""

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from bench.benchmark import find_program

_QUICK_S = 10.0
_WATCHED_S = 2.0
_IDLE, _WAITING = 3, 4  # columns of /proc/stat: proc(5)
_ASKED_WITH = {"wrk": "-v", "nginx": "-v"}
_NUMBER = re.compile(r"\d+\.\d+[\w.+~/-]*")


def versions(programs: Iterable[str]) -> dict[str, str]:
    """Of each program that is installed."""
    found = {name: path for name in sorted(set(programs)) if (path := find_program(name)) is not None}
    return {name: _version(path, _ASKED_WITH.get(name, "--version")) for name, path in found.items()}


def version_in(text: str) -> str:
    """The first thing in what a program says of itself that looks like a version; `unknown` where nothing does."""
    match = _NUMBER.search(text)
    return match.group() if match else "unknown"


def machine() -> dict[str, str]:
    """What a reader has to know to compare. `busy` was watched for two seconds before anything was measured."""
    return {
        "floxbridge": version("floxbridge"),
        "python": platform.python_version(),
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _named_in("/proc/cpuinfo", "model name"),
        "memory": _named_in("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "busy": f"{_busy_share(_WATCHED_S):.0%} with other things",
    }


def busy_share(before: str, after: str) -> float:
    """How busy all cores were between two readings of /proc/stat: 0 to 1."""
    first, second = ([int(number) for number in stat.split("\n", 1)[0].split()[1:9]] for stat in (before, after))
    spent = [late - early for early, late in zip(first, second, strict=True)]
    return 1 - (spent[_IDLE] + spent[_WAITING]) / sum(spent) if sum(spent) else 0.0


def _busy_share(seconds: float) -> float:
    stat = Path("/proc/stat")
    before = stat.read_text()
    time.sleep(seconds)
    return busy_share(before, stat.read_text())


def _version(path: str, flag: str) -> str:
    told = subprocess.run([path, flag], capture_output=True, text=True, timeout=_QUICK_S, check=False)
    return version_in(told.stdout + told.stderr)


def _named_in(file: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", Path(file).read_text(), re.MULTILINE)
    return found.group(1).strip() if found else "unknown"

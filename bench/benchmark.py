"""A benchmark: its name, what it needs of the machine, and how it measures.

Belongs here: the noun, and why one may have to be left out. Which ones there are is in `__main__.py`.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.closure_cache import Closure
from bench.figure import Figure
from floxbridge_demo.workplace import Workplace

_FOLDERS = "/usr/sbin:/sbin"


class BenchmarkFailed(Exception):
    """Something did not work as the benchmark needs it; no figure can be given."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a benchmark is performed: a folder of its own, and how much of everything; 1 is as usual.

    `closure` makes the large closure when it is first asked for. A run's benchmarks share it: none takes from it.
    """

    workplace: Workplace
    scale: float
    closure: Callable[[], Closure]


Measure = Callable[[Stage], Sequence[Figure]]
"""Raises BenchmarkFailed, ProgramFailed, CriFailed, BusyboxMissing."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`title` says against whom; `programs` have to be installed; `root` says that containers are started."""

    name: str
    title: str
    measure: Measure
    programs: tuple[str, ...] = ()
    root: bool = False

    def why_not(self) -> str | None:
        """Why it cannot be run on this machine, in one line for a person; or None."""
        missing = [program for program in self.programs if find_program(program) is None]
        if missing:
            return f"not installed: {', '.join(missing)} (`make setup` as root installs it on Debian)"
        if self.root and os.geteuid() != 0:
            return "it starts containers, which needs root"
        return None


def find_program(name: str) -> str | None:
    """Also where an ordinary user's PATH does not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_FOLDERS}")

"""How long a program runs, from the call to its end, with as little of Python as possible in between."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.benchmark import BenchmarkFailed

_TO_LOG = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def timed(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, exit_code: int = 0
) -> float:
    """Seconds. `command` starts with a path; what it says goes to `log`. Raises BenchmarkFailed.

    The program gets files and no pipes: a container that it leaves behind may hold on to them.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), _TO_LOG, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    variables = dict(os.environ if environment is None else environment)
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], list(command), variables, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) != exit_code:
        said = log.read_text(errors="replace").strip()[-1000:]
        raise BenchmarkFailed(f"`{' '.join(command)}` ended with {os.waitstatus_to_exitcode(status)}: {said}")
    return took

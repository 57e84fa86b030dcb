"""Programs that the doctor asks something: bounded in time, with nothing on their stdin."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from shim_hooks.errors import NodeError


class ProgramUnusable(NodeError):
    """It cannot be started, does not end in time, or says no. The message says which, with its last words."""


@dataclass(frozen=True, slots=True)
class Told:
    code: int
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        lines = self.stderr.strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


def ask(command: Sequence[str], *, deadline_s: float) -> str:
    """What it printed on stdout. Raises ProgramUnusable."""
    told = run(command, deadline_s=deadline_s)
    if told.code != 0:
        raise ProgramUnusable(f"`{' '.join(command)}` ended with {told.code}: {told.last_words}")
    return told.stdout


def run(command: Sequence[str], *, deadline_s: float) -> Told:
    """Raises ProgramUnusable where there is nothing to tell."""
    said = " ".join(command)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline_s, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired as problem:
        raise ProgramUnusable(f"`{said}` did not end within {deadline_s:g} s") from problem
    except OSError as problem:
        raise ProgramUnusable(f"`{said}` cannot be started: {problem.strerror}") from problem
    return Told(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

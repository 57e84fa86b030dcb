"""A program that runs beside the demo until it is told to stop: the registry, the agent, containerd.

Belongs here: starting, its log, the events in it, stopping. What it is given is its caller's business.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL_S = 0.01
_GRACE_S = 10.0
_LINES_SHOWN = 15


class ProgramFailed(Exception):
    """A program did not start, ended early or was too slow. The message has the end of its log."""


class Program:
    """A child in a session of its own: a ctrl-C on the terminal reaches the demo, and the demo decides."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._begin = output.tell()
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise ProgramFailed(f"{name}: {command[0]} cannot be run: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def events(self, name: str) -> Iterator[Mapping[str, object]]:
        """What it logged under this name so far, oldest first. Lines that are no JSON objects are passed over."""
        for line in self._lines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("event") == name:
                yield entry

    def wait_for(self, event: str, *, deadline_s: float) -> Mapping[str, object]:
        """The first such event, or ProgramFailed when the program ends or the time is up before."""
        end = time.monotonic() + deadline_s
        while True:
            running = self.running  # before the log is read, so that a last line is not missed
            found = next(self.events(event), None)
            if found is not None:
                return found
            if not running:
                raise ProgramFailed(f"{self.name} ended with {self._process.returncode}\n{self.log_end()}")
            if time.monotonic() > end:
                raise ProgramFailed(f"{self.name} did not say {event!r} in {deadline_s:g} s\n{self.log_end()}")
            time.sleep(_POLL_S)

    def log_end(self) -> str:
        lines = self._lines()[-_LINES_SHOWN:]
        return "\n".join([f"end of {self.log}:", *(f"  {line}" for line in lines)])

    def _lines(self) -> list[str]:
        """Its own: the log may hold those of programs before it."""
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace").splitlines()

    def kill(self) -> None:
        """As the kernel would: nothing is tidied by the program itself."""
        self._process.kill()
        self._process.wait(_GRACE_S)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not listen."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_GRACE_S)

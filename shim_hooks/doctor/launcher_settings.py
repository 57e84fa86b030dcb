"""The launcher's settings file, read by the launcher's own rules.

Belongs here: the text, pure, and what the launcher would say of it. `launcher/floxbridge_runc.c` has the rules, and a
test compares the two.
"""

import os
import re
from dataclasses import dataclass, replace
from typing import Self

MAX_BYTES = 4096
DEADLINE_MAX_MS = 3_600_000
RUNTIME_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where the launcher looks a bare name up; never in PATH, which is the caller's."""
_PATH_MAX = 4096
_SOCKET_PATH_MAX = 108
_BLANKS = " \t\r"
_NUMBER = re.compile("[0-9]+")


@dataclass(frozen=True, slots=True)
class LauncherSettings:
    """`problem` is the first thing wrong, as the launcher puts it, or empty; every create fails with it."""

    runtime: str = "runc"
    socket: str = "/run/floxbridge/agent.sock"
    deadline_ms: int = 110_000
    problem: str = ""

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """`where` is the file's path, for the problem. What is wrong leaves its setting as it was."""
        settings = cls()
        if len(data) > MAX_BYTES or b"\0" in data:
            return replace(settings, problem=f"{where} is longer than {MAX_BYTES} bytes or no text")
        for line in os.fsdecode(data).split("\n"):
            line = line.strip(_BLANKS)
            if line and not line.startswith("#"):
                settings = settings._after(line, where)
        return settings

    def _after(self, line: str, where: str) -> Self:
        key, equals, value = line.partition("=")
        if not equals:
            return self._blamed(f"{where}: want key=value, got '{_cut(line, 60)}'")
        key, value = key.strip(_BLANKS), value.strip(_BLANKS)
        size = len(os.fsencode(value))
        match key:
            case "runtime":
                if not value or size >= _PATH_MAX or (value[0] != "/" and "/" in value):
                    said = f"{where}: runtime={_cut(value, 100)} is neither an absolute path nor a bare name"
                    return self._blamed(said)
                return replace(self, runtime=value)
            case "socket":
                if not value.startswith("/") or size >= _SOCKET_PATH_MAX:
                    said = f"is not an absolute path of at most {_SOCKET_PATH_MAX - 1} bytes"
                    return self._blamed(f"{where}: socket={_cut(value, 120)} {said}")
                return replace(self, socket=value)
            case "deadline_ms":
                if _NUMBER.fullmatch(value) is None or not 1 <= _bounded(value) <= DEADLINE_MAX_MS:
                    said = f"is not a number from 1 to {DEADLINE_MAX_MS}"
                    return self._blamed(f"{where}: deadline_ms={_cut(value, 40)} {said}")
                return replace(self, deadline_ms=int(value))
            case _:
                there_are = "there are runtime, socket and deadline_ms"
                return self._blamed(f"{where}: no setting is called '{_cut(key, 60)}'; {there_are}")

    def _blamed(self, problem: str) -> Self:
        return self if self.problem else replace(self, problem=problem)


def _bounded(digits: str) -> int:
    """As a number; one that is too long to be a sensible one is not even computed."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) < 10 else DEADLINE_MAX_MS + 1


def _cut(text: str, size: int) -> str:
    return os.fsdecode(os.fsencode(text)[:size])

"""How the demo talks: headings, steps with their time, what a program printed.

Belongs here: the terminal. On one, a step is shown while it runs and in colour; in a log there is a plain line for each
step that is done. What is told is `story.py`'s.
"""

import os
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_BOLD, _DIM, _GREEN, _CYAN = "1", "2", "32", "36"
_CLEAR_LINE = "\r\x1b[K"
_WORTH_TELLING_S = 0.1


class Narrator:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._colours = self._terminal and not os.environ.get("NO_COLOR")

    def heading(self, text: str) -> None:
        self._line(f"\n{self._in(_BOLD, text)}")

    def say(self, text: str) -> None:
        self._line(textwrap.indent(text, "  "))

    def fact(self, name: str, value: object) -> None:
        self._line(f"  {name + ':':<14}{value}")

    def show(self, text: str) -> None:
        """Something to read as it is: a file, or the output of a program."""
        for line in text.rstrip("\n").splitlines():
            self._line(f"    {self._in(_DIM, '│')} {self._in(_CYAN, line)}")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Told when it is done; one that fails is left to the error."""
        if self._terminal:
            self._write(f"  {self._in(_DIM, '…')} {text}")
        begun = time.monotonic()
        try:
            yield
        finally:
            if self._terminal:
                self._write(_CLEAR_LINE)
        took = time.monotonic() - begun
        timed = self._in(_DIM, f" ({took:.1f} s)") if took >= _WORTH_TELLING_S else ""
        self._line(f"  {self._in(_GREEN, '✓')} {text}{timed}")

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text

    def _line(self, text: str) -> None:
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def amount(size: int) -> str:
    """Bytes for a person: exact, and rounded where that is shorter."""
    exact = f"{size:,} bytes"
    return exact if size < 10_000 else f"{exact} ({size / 1e6:.1f} MB)"

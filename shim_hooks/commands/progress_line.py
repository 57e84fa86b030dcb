"""How far a fetch is, for who started it by hand: one line that is drawn again and again, or now and then a plain one.

Belongs here: the terminal. Does not: the numbers and their words (`environment/progress.py`).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Self, TextIO

from shim_hooks.environment.progress import Progress

_REDRAWN_EVERY_S, _LINE_EVERY_S = 0.2, 5.0
_LONGEST_BAR, _SHORTEST_BAR = 30, 8
_USUAL_COLUMNS = 80
_CLEAR_LINE = "\r\x1b[K"


class Way(Enum):
    BAR = "a line that is redrawn, for a terminal"
    LINES = "a line every few seconds, for a file"
    NOTHING = "nothing"

    @classmethod
    def of(cls, stream: TextIO, term: str, *, as_json: bool) -> Self:
        """The way for a stream. `term` is what TERM says. Who asks for JSON is a program, which may read all we say."""
        if stream.isatty() and term != "dumb":
            return cls(cls.BAR)
        return cls(cls.NOTHING if as_json else cls.LINES)


@asynccontextmanager
async def shown(what: str, look: Callable[[], str | Progress], stream: TextIO, way: Way) -> AsyncIterator[None]:
    """While in the context, `look` is asked how far it is, and `stream` told. A bar leaves nothing behind."""
    if way is Way.NOTHING:
        yield
        return
    task = asyncio.create_task(_redraw(look, stream) if way is Way.BAR else _tell(what, look, stream), name="progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if way is Way.BAR:
            _write(stream, _CLEAR_LINE)


def bar(progress: str | Progress, columns: int) -> str:
    """A line that fits into a terminal of so many columns."""
    if isinstance(progress, str):
        return progress[: columns - 1]
    facts = f"{progress.percent:3} %  {progress.amounts}  {progress.shown_rate or '-'}  {_paths(progress)}"
    room = min(_LONGEST_BAR, columns - len(facts) - len("[]  ") - 1)
    if room < _SHORTEST_BAR:
        return facts[: columns - 1]
    done = room * progress.percent // 100
    return f"[{'#' * done}{'-' * (room - done)}]  {facts}"


def line(what: str, progress: str | Progress) -> str:
    return f"{what}: {progress}" + ("" if isinstance(progress, str) else f", {_paths(progress)}")


def _paths(progress: Progress) -> str:
    return f"{progress.paths_done} of {progress.paths} paths"


async def _redraw(look: Callable[[], str | Progress], stream: TextIO) -> None:
    while True:
        _write(stream, f"\r{bar(look(), _columns(stream))}\x1b[K")
        await asyncio.sleep(_REDRAWN_EVERY_S)


async def _tell(what: str, look: Callable[[], str | Progress], stream: TextIO) -> None:
    """What is quick needs no words."""
    while True:
        await asyncio.sleep(_LINE_EVERY_S)
        _write(stream, f"{line(what, look())}\n")


def _columns(stream: TextIO) -> int:
    """As they are now: a window may be resized. A terminal that does not know says 0."""
    with suppress(OSError):
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    return _USUAL_COLUMNS


def _write(stream: TextIO, text: str) -> None:
    with suppress(OSError):  # that nobody looks any more is no reason to fetch no further
        stream.write(text)
        stream.flush()

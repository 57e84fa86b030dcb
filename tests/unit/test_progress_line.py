"""The line that shows how far a fetch is: what fits into a terminal, and who gets one."""

import asyncio
import io

import pytest

from shim_hooks.commands.progress_line import Way, bar, line, shown
from shim_hooks.environment.progress import Progress

HALF = Progress(done=500, total=1000, paths_done=3, paths=12, rate=250.0)


class Terminal(io.StringIO):
    """Tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


@pytest.mark.parametrize(
    ("progress", "columns", "drawn"),
    [
        pytest.param(
            HALF, 200, "[###############---------------]   50 %  0.5 of 1.0 kB  250 bytes/s  3 of 12 paths", id="wide"
        ),
        pytest.param(HALF, 66, "[######-------]   50 %  0.5 of 1.0 kB  250 bytes/s  3 of 12 paths", id="less-room"),
        pytest.param(HALF, 60, " 50 %  0.5 of 1.0 kB  250 bytes/s  3 of 12 paths", id="no-room-for-a-bar"),
        pytest.param(HALF, 10, " 50 %  0.", id="hardly-any-room"),
        pytest.param("asking the registry", 80, "asking the registry", id="words"),
        pytest.param("asking the registry", 7, "asking", id="words-that-are-cut"),
        pytest.param(
            Progress(0, 1000, 0, 2, None), 80, f"[{'-' * 30}]    0 %  0.0 of 1.0 kB  -  0 of 2 paths", id="at-first"
        ),
        pytest.param(
            Progress(1000, 1000, 2, 2, 0.0),
            80,
            f"[{'#' * 30}]  100 %  1.0 of 1.0 kB  0 bytes/s  2 of 2 paths",
            id="all",
        ),
    ],
)
def test_a_bar(progress: str | Progress, columns: int, drawn: str) -> None:
    found = bar(progress, columns)
    assert len(found) < columns
    assert found == drawn


def test_a_line() -> None:
    assert line("acme/web", HALF) == "acme/web: 50 %, 0.5 of 1.0 kB, 250 bytes/s, 3 of 12 paths"
    assert line("acme/web", "asking the registry") == "acme/web: asking the registry"


@pytest.mark.parametrize(
    ("stream", "term", "as_json", "way"),
    [
        pytest.param(Terminal, "xterm", False, Way.BAR, id="terminal"),
        pytest.param(Terminal, "xterm", True, Way.BAR, id="terminal-with-json-elsewhere"),
        pytest.param(Terminal, "dumb", False, Way.LINES, id="terminal-that-cannot"),
        pytest.param(io.StringIO, "xterm", False, Way.LINES, id="file"),
        pytest.param(io.StringIO, "xterm", True, Way.NOTHING, id="a-program"),
    ],
)
def test_who_gets_what(stream: type[io.StringIO], term: str, as_json: bool, way: Way) -> None:
    assert Way.of(stream(), term, as_json=as_json) is way


@pytest.mark.anyio
async def test_a_bar_is_gone_at_the_end_whatever_happened() -> None:
    terminal = Terminal()

    async def fetch() -> None:
        async with shown("acme/web", lambda: HALF, terminal, Way.BAR):
            async with asyncio.timeout(30):
                await terminal.written.wait()
            raise KeyError

    with pytest.raises(KeyError):
        await fetch()
    assert terminal.getvalue() == f"\r{bar(HALF, 80)}\x1b[K\r\x1b[K"


@pytest.mark.anyio
async def test_a_stream_that_is_gone_stops_nothing() -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            super().write(text)
            raise BrokenPipeError

    terminal = Gone()
    async with shown("acme/web", lambda: HALF, terminal, Way.BAR), asyncio.timeout(30):
        await terminal.written.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("way", [Way.LINES, Way.NOTHING])
async def test_what_is_quick_needs_no_words(way: Way) -> None:
    stream = io.StringIO()
    async with shown("acme/web", lambda: HALF, stream, way):
        pass
    assert stream.getvalue() == ""

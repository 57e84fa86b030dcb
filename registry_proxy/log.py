"""JSON lines on stderr: `time`, `event`, and what the event has to say. Never a credential.

Belongs here: writing lines, whole and in order, and taking in what libraries tell Python's `logging`. What a line for
a request looks like is in `access_log.py`.
"""

import asyncio
import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from typing import TextIO

from registry_proxy.errors import RegistryError

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request that is being worked on, for what `logging` is told meanwhile."""

_SOON_S = 0.2
_MAX_WAITING = 1_000


class Log:
    """`stream` gets whole lines, in order."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._waiting: list[str] = []
        self._second, self._stamp = 0, ""

    def event(self, event: str, **facts: object) -> None:
        """Written at once, after the lines that wait."""
        document = {"time": self.stamp(), "event": event, **facts}
        self._waiting.append(json.dumps(document, default=str, ensure_ascii=False) + "\n")
        self.flush()

    def line(self, line: str) -> None:
        """A line that was made elsewhere, with its newline: written soon, together with others. In an event loop."""
        self._waiting.append(line)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(_SOON_S, self.flush)
        elif len(self._waiting) >= _MAX_WAITING:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            lines, self._waiting = self._waiting, []
            self._stream.write("".join(lines))
            self._stream.flush()

    def stamp(self) -> str:
        """The time now, UTC, as every line has it."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int(now % 1 * 1000):03}Z"


class LoggingHandler(logging.Handler):
    """Writes what libraries log as events of ours: the level is the event, a traceback is a field.

    An error of ours that broke off an answer midway is no mistake of the program's: it is one sentence.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, object] = {"logger": record.name, "message": record.getMessage()}
        request_id = REQUEST_ID.get()
        if request_id is not None:
            facts["request_id"] = request_id
        error = record.exc_info[1] if record.exc_info else None
        expected = _expected(error)
        if expected is not None:
            facts["message"] = f"an answer was broken off: {expected}"
        elif error is not None:
            facts["traceback"] = "".join(traceback.format_exception(error))
        self._log.event(record.levelname.lower() if expected is None else "warning", **facts)


def _expected(error: BaseException | None) -> RegistryError | None:
    """The error of ours that `error` is, or was raised from."""
    while error is not None and not isinstance(error, RegistryError):
        error = error.__cause__
    return error

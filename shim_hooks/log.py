"""One JSON line an event on stderr: `time`, `event`, and what the event has to say. Never a credential."""

import json
import sys
import threading
from datetime import UTC, datetime
from typing import TextIO


class Log:
    """`stream` gets whole lines, from any thread."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream, self._lock = stream or sys.stderr, threading.Lock()

    def event(self, event: str, **facts: object) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": stamp, "event": event, **facts}, default=str) + "\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

"""One JSON line an event on stderr: `time`, `event`, and what the event has to say. Never a credential."""

import json
import sys
from datetime import UTC, datetime
from typing import TextIO


class Log:
    """`stream` gets whole lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def event(self, event: str, **facts: object) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._stream.write(json.dumps({"time": stamp, "event": event, **facts}, default=str) + "\n")
        self._stream.flush()

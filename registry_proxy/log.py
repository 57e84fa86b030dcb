"""One JSON line an event on stderr: `time`, `event`, and what the event has to say. Never a credential."""

import json
import sys
import time
from typing import TextIO


class Log:
    """`stream` gets whole lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def event(self, event: str, **facts: object) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        line = json.dumps({"time": stamp, "event": event, **facts}, default=str, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()

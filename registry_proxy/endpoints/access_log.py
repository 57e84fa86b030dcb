"""A line a request: what was asked, what was answered, how long it took. No query, no header, no credential.

Belongs here: the fields and their order, written without a dictionary, since it is on the way of every request.
`docs/operate.md` explains each field; a test compares.
"""

import json
from dataclasses import dataclass

from registry_proxy.endpoints.exchange import Exchange
from registry_proxy.log import Log

_MAX_PATH = 400
_quoted = json.JSONEncoder().encode


@dataclass(slots=True)
class Answer:
    """What was sent so far. `status` is 500 until there is one, since that is what a client then gets."""

    status: int = 500
    sent_bytes: int = 0
    complete: bool = False


class AccessLog:
    """Writes through `log`, a moment later and many at a time."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def answered(self, exchange: Exchange, method: str, path: str, client: str, answer: Answer, seconds: float) -> None:
        """`path` is without its query. What an exchange does not know is left out."""
        line = (
            f'{{"time": "{self._log.stamp()}", "event": "request", "method": "{method}", '
            f'"path": {_quoted(path[:_MAX_PATH])}, "status": {answer.status}, "bytes": {answer.sent_bytes}, '
            f'"ms": {seconds * 1000:.3f}, "client": "{client}", "request_id": "{exchange.request_id}"'
        )
        if exchange.environment is not None:
            line += f', "environment": {_quoted(str(exchange.environment))}'
        if exchange.generation is not None:
            line += f', "generation": {exchange.generation}'
        if exchange.outcome is not None:
            line += f', "outcome": "{exchange.outcome}"'
        if not answer.complete:
            line += ', "complete": false'
        self._log.line(line + "}\n")

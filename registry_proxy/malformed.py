"""Requests that are none: each is counted, few are told.

Belongs here: that a port scanner, or clients that speak TLS to a plain port, cannot fill the log. How such a client is
answered is in `connection.py`.
"""

from collections.abc import Callable
from typing import Protocol

_WINDOW_S = 10.0


class Told(Protocol):
    """`client` and `status` are of the last one of `count`."""

    def __call__(self, *, client: str, status: int, count: int) -> None: ...


class MalformedRequests:
    """The first is told at once. Those of the ten seconds that follow are told together at their end, and so on until
    there were none. Belongs to an event loop, whose `call_later` is `later`."""

    def __init__(
        self, *, counted: Callable[[int], None], told: Told, later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        self._counted, self._told, self._later = counted, told, later
        self._holding_back = False
        self._client, self._status, self._count = "", 0, 0

    def note(self, client: str, status: int) -> None:
        """`status` is what the client was answered."""
        self._counted(status)
        self._client, self._status, self._count = client, status, self._count + 1
        if not self._holding_back:
            self._tell()

    def close(self) -> None:
        """Tells what waits: the loop ends."""
        if self._count:
            self._tell()

    def _tell(self) -> None:
        self._told(client=self._client, status=self._status, count=self._count)
        self._count, self._holding_back = 0, True
        self._later(_WINDOW_S, self._window_over)

    def _window_over(self) -> None:
        self._holding_back = False
        if self._count:
            self._tell()

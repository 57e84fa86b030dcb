"""Whose turn it is: each environment has a line of store paths, and the lines are served one path each in turn.

Belongs here: the order, and how many at a time. Does not: what is done in a turn (`path_fetches.py`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Line:
    """What one environment waits for, the first one first. It is `ahead` as long as no container waits for it."""

    def __init__(self, *, ahead: bool = False) -> None:
        self.ahead = ahead
        self.tickets = deque[Ticket]()


Ticket = asyncio.Future[Line]
"""For one turn. It may stand in several lines, and has its turn, and as its result the line, where that comes first."""


class Turns:
    """`parallel` at a time; for lines that are ahead half of it at most, so that no container waits for all of theirs.

    For one event loop. Who is cancelled while it waits stands in no line any more.
    """

    def __init__(self, parallel: int) -> None:
        self._parallel, self._for_ahead = parallel, max(1, parallel // 2)
        self._lines = deque[Line]()
        """Those with tickets, the next one first."""
        self._served = list[Line]()
        """The line of each that has its turn."""

    def queue(self, ticket: Ticket, line: Line) -> None:
        if not line.tickets:
            self._lines.append(line)
        line.tickets.append(ticket)
        self._serve()

    def hurry(self, line: Line) -> None:
        """A container waits for it now."""
        line.ahead = False
        self._serve()

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        """Begins when it is the ticket's turn, which lasts until the context ends."""
        try:
            await ticket
            yield
        finally:
            if not ticket.cancelled():
                self._served.remove(ticket.result())
                self._serve()

    def _serve(self) -> None:
        while len(self._served) < self._parallel and (line := self._next()) is not None:
            self._served.append(line)
            line.tickets.popleft().set_result(line)
            self._lines.remove(line)
            if line.tickets:
                self._lines.append(line)  # behind the others

    def _next(self) -> Line | None:
        """The line whose first ticket is to be served."""
        for line in self._in_order():
            while line.tickets and line.tickets[0].done():  # cancelled, or served in another line
                line.tickets.popleft()
            if line.tickets:
                return line
            self._lines.remove(line)
        return None

    def _in_order(self) -> list[Line]:
        awaited = [line for line in self._lines if not line.ahead]
        if sum(line.ahead for line in self._served) >= self._for_ahead:
            return awaited
        return awaited + [line for line in self._lines if line.ahead]

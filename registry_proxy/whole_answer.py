"""Answers of which all is at hand: one message, one write, and a head of which most was put into bytes before.

Belongs here: the message, and writing it. uvicorn looks at each header of each answer with two regular expressions, and
writes head and body by themselves: a quarter of what such a request costs.
"""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

WHOLE = "floxbridge.response.whole"
"""The type of an ASGI message with `status`; `head`, header lines that were made before; `headers`, more of them; and
`body`. Also the key of a scope's `extensions` where the server takes such messages."""

Header = tuple[bytes, bytes]


def head_lines(headers: Iterable[Header]) -> bytes:
    """For `head`. Nobody looks at them again: they are of our own making."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


class WholeAnswers:
    """Wraps `app`, for requests that come through `Connection`: its cycle writes what the app sends whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._first: Sequence[Header] = ()
        self._first_lines = b""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        def send_any(message: Message) -> Awaitable[None]:
            if message["type"] != WHOLE:
                return send(message)
            return self._write(cast("RequestResponseCycle", cast("Any", send).__self__), message)

        return self._app(scope, receive, send_any)

    async def _write(self, cycle: RequestResponseCycle, message: Message) -> None:
        """As `RequestResponseCycle.send` would, after both of its messages."""
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        lines = [STATUS_LINE[message["status"]], self._lines_of(cycle.default_headers), message["head"]]
        lines.append(head_lines(message["headers"]))
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            lines.append(message["body"])
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"".join(lines))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def _lines_of(self, default_headers: Sequence[Header]) -> bytes:
        """Of the headers of every answer: uvicorn makes a new list when the date is another one."""
        if default_headers is not self._first:
            self._first, self._first_lines = default_headers, head_lines(default_headers)
        return self._first_lines

"""A small honest upstream that can be told to fail: it serves an app on a real port, and answers as its fault says."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum, auto

import anyio.to_thread
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_START_S = 20


class Fault(StrEnum):
    NONE = auto()
    GARBAGE = auto()
    WEB_PAGE = auto()
    CUT = auto()
    HANG = auto()
    STALL = auto()
    RESET = auto()
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    TOO_MANY = "429"
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"


@dataclass
class FaultyUpstream:
    """`fault` may change at any time; `requests` are the paths asked so far. HANG, before an answer, and STALL, in the
    middle of one, end when `release` is set."""

    app: ASGIApp
    fault: Fault = Fault.NONE
    only: str = ""
    """The fault holds for paths that have this in them; the rest goes well."""
    spare: int = 0
    """So many requests for such paths go well before."""
    retry_after: str = ""
    """What answers with an error say of it; 7 seconds where there is nothing else with a 429."""
    requests: list[str] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.append(f"{scope['method']} {scope['path']}")
        fault = self._fault_of(scope["path"])
        match fault:
            case Fault.NONE:
                await self.app(scope, receive, send)
            case Fault.HANG:
                await self._wait()
                await self.app(scope, receive, send)
            case Fault.STALL:
                await self.app(scope, receive, self._stalling(send))
            case Fault.RESET:
                _reset(send)
            case Fault.GARBAGE:
                kind = "application/x-git-upload-pack-advertisement"
                await Response(b"\0garbage" * 99, media_type=kind)(scope, receive, send)
            case Fault.WEB_PAGE:
                await Response("<html>Welcome</html>", media_type="text/html")(scope, receive, send)
            case Fault.CUT:
                await self.app(scope, receive, _cutting(send))
            case _:
                retry_after = self.retry_after or ("7" if fault is Fault.TOO_MANY else "")
                headers = {"Retry-After": retry_after} if retry_after else None
                await Response("no", int(fault.value), headers)(scope, receive, send)

    def _fault_of(self, path: str) -> Fault:
        if self.fault is Fault.NONE or self.only not in path:
            return Fault.NONE
        self.spare -= 1
        return self.fault if self.spare < 0 else Fault.NONE

    async def _wait(self) -> None:
        self.hanging.set()
        await anyio.to_thread.run_sync(self.release.wait, abandon_on_cancel=True)

    def _stalling(self, send: Send) -> Send:
        """Lets the head through, and half of the first of the body; the rest comes much later."""

        async def stall(message: Message) -> None:
            body = message.get("body", b"")
            if body and not self.hanging.is_set():
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                await self._wait()
                message = {**message, "body": body[len(body) // 2 :]}
            await send(message)

        return stall


def _reset(send: Send) -> None:
    """Breaks the connection as a machine does that was just restarted: the other side gets an error, and no end."""
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]  # uvicorn's
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _cutting(send: Send) -> Send:
    """Lets the head through, with a length, and half of the body; then breaks the connection."""

    async def cut(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message["headers"] if pair[0].lower() != b"content-length"]
            await send({**message, "headers": [*headers, (b"content-length", b"1000000")]})
        else:
            await send({**message, "body": message.get("body", b"")[:100], "more_body": False})

    return cut


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The URL of `app` on a real port, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, lifespan="off", log_config=None, log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="upstream")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_START_S)
    assert not thread.is_alive()

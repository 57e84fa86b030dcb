"""One HTTP request answered by one process, as CGI (RFC 3875) says.

Belongs here: streams and the life of the process. Which program, and what its variables mean, is the caller's business.
Both ways are streamed through small buffers, so memory does not grow with what is sent.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from subprocess import PIPE

import anyio
import anyio.lowlevel
from anyio.abc import ByteReceiveStream, Process
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

_MAX_HEAD_BYTES = 64 * 1024
_MAX_COMPLAINT_BYTES = 4 * 1024
_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class CgiProgram:
    """How to run it. A request of more than `max_body_bytes`, or of more than `deadline_s`, is broken off; and so is
    one whose client takes nothing of its answer for `idle_s`.
    """

    command: Sequence[str]
    max_body_bytes: int
    deadline_s: float
    idle_s: float

    async def answer(self, variables: Mapping[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. The process is gone afterwards, whoever ended it: itself, the client or the clock."""
        if int(variables.get("CONTENT_LENGTH") or 0) > self.max_body_bytes:
            await PlainTextResponse("the request is larger than this server reads\n", 413)(scope, receive, send)
            return
        try:
            process = await anyio.open_process(
                self.command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=variables, start_new_session=True
            )
        except OSError as problem:
            sentence = f"cannot run {self.command[0]}: {problem.strerror}; is it installed?\n"
            await PlainTextResponse(sentence, 500)(scope, receive, send)
            return
        exchange = _Exchange(process, scope, receive, send, self.max_body_bytes, self.idle_s)
        try:
            with anyio.move_on_after(self.deadline_s):
                await exchange.run()
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)


@dataclass(slots=True)
class _Exchange:
    """The three streams of one process, and the client on the other side."""

    process: Process
    scope: Scope
    receive: Receive
    send: Send
    body_bytes_left: int
    idle_s: float
    complaint: bytearray = field(default_factory=bytearray)
    heard_all: anyio.Event = field(default_factory=anyio.Event)
    exchange: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            self.exchange = tasks.cancel_scope
            tasks.start_soon(self._feed)
            tasks.start_soon(self._hear_complaints)
            await self._relay()
            tasks.cancel_scope.cancel()

    async def _feed(self) -> None:
        """The request's body to the process; and ends the exchange when the client goes away."""
        assert self.process.stdin is not None
        async with self.process.stdin as stdin:
            while (message := await self.receive())["type"] != "http.disconnect":
                body = message.get("body", b"")
                self.body_bytes_left -= len(body)
                if self.body_bytes_left < 0:
                    self.exchange.cancel()
                with suppress(anyio.BrokenResourceError, OSError):  # it may answer without hearing us out
                    await stdin.send(body)
                if not message.get("more_body", False):
                    break
        while message["type"] != "http.disconnect":
            message = await self.receive()
        self.exchange.cancel()

    async def _hear_complaints(self) -> None:
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.complaint += chunk[: _MAX_COMPLAINT_BYTES - len(self.complaint)]
        self.heard_all.set()

    async def _relay(self) -> None:
        """The answer to the client: the head first, then the body as it comes."""
        assert self.process.stdout is not None
        head, rest = await _read_head(self.process.stdout)
        parsed = _parse_head(head)
        if parsed is None:
            with anyio.move_on_after(_PATIENCE_S):
                await self.heard_all.wait()
            complaint = self.complaint.decode("utf-8", "replace").strip() or "it does not say why"
            await PlainTextResponse(f"the program failed: {complaint}\n", 500)(self.scope, self.receive, self.send)
            return
        status, headers = parsed
        await self._tell({"type": "http.response.start", "status": status, "headers": headers})
        await self._tell({"type": "http.response.body", "body": rest, "more_body": True})
        async for chunk in self.process.stdout:
            await self._tell({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._tell({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, message: Message) -> None:
        """Waits while the client has enough to take, and ends the exchange when it takes nothing."""
        with anyio.move_on_after(self.idle_s) as waiting:
            await self.send(message)
        if waiting.cancelled_caught:
            self.exchange.cancel()
            await anyio.lowlevel.checkpoint()


async def _read_head(stream: ByteReceiveStream) -> tuple[bytes, bytes]:
    """Header lines, and what came after them. Both are empty when the process said nothing that could be a head."""
    data = b""
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while len(data) < _MAX_HEAD_BYTES:
            data += await stream.receive()
            for blank_line in (b"\r\n\r\n", b"\n\n"):
                head, found, rest = data.partition(blank_line)
                if found:
                    return head, rest
    return b"", b""


def _parse_head(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]] | None:
    """The status, 200 unless the `Status` line says otherwise, and the other lines. None if it is not a head."""
    status, headers = 200, []
    for line in head.splitlines():
        name, colon, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not name:
            return None
        if name != b"status":
            headers.append((name, value))
        elif value[:3].isdigit():
            status = int(value[:3])
        else:
            return None
    return (status, headers) if head else None


async def _end(process: Process) -> None:
    """Ends the process with all that it started, asking first: git then removes its temporary files."""
    for wish in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, wish)
        with anyio.move_on_after(_PATIENCE_S):
            await process.wait()
    await process.aclose()

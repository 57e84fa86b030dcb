"""A client's connection: what uvicorn leaves open, closed.

Belongs here: bounds on what a client may send before its request is complete, and on how long it may owe us one; how a
request that is no HTTP is answered. uvicorn by itself waits for ever for a first request, takes a head of any size, and
writes its complaint into the middle of an answer that is under way.
"""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from registry_proxy.content.file_span import FILE_BODIES
from registry_proxy.corked import Corked
from registry_proxy.file_sender import FileSender
from registry_proxy.malformed import MalformedRequests
from registry_proxy.whole_answer import WHOLE

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers together."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a request is none."""

    status: HTTPStatus
    sentence: str


_NO_HTTP = _Refusal(HTTPStatus.BAD_REQUEST, "this is no HTTP request")
_NO_HOST = _Refusal(HTTPStatus.BAD_REQUEST, "an HTTP/1.1 request has one Host header (RFC 9112 section 3.2)")
_TOO_LARGE = _Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"the request's line and headers have more than {MAX_HEAD_BYTES} bytes",
)


_OVER_TLS: dict[str, dict[object, object]] = {WHOLE: {}}
_PLAIN = {**_OVER_TLS, FILE_BODIES: {}}
"""What an app may send besides what ASGI has."""


class _HeadRefused(Exception):
    """Raised into the parser, which then gives up."""


class Connection(HttpToolsProtocol):
    """uvicorn's, with bounds. A client that owes a request, or the rest of its head, has uvicorn's `timeout_keep_alive`
    for it: from the connection, or from the end of the answer before."""

    _owed_since = 0.0
    _in_head = False
    _began = False
    _head_bytes = 0
    _refusal = _NO_HTTP

    def __init__(self, *, malformed: MalformedRequests, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._malformed = malformed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._files = FileSender(transport, self.loop, begun=super().pause_writing, ended=super().resume_writing)
        super().connection_made(Corked(transport, self.loop, self._files))  # type: ignore[arg-type]  # all it asks of one
        self._owed_since = self.loop.time()
        self._bound()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._files.stop()
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """In place of uvicorn's, which writes a line for each request that is none, or that offers another protocol."""
        self._began = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An offer that is not taken. The parser has lost what came behind it, so there is one answer, and an end.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse()
        if self._in_head:
            self._head_bytes = 0 if self._began else self._head_bytes + len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refusal = _TOO_LARGE
                self._refuse()
        self._bound()

    def resume_writing(self) -> None:
        if not self._files.is_sending:  # what was written before has gone; there is still no room
            super().resume_writing()

    def on_message_begin(self) -> None:
        self._in_head = self._began = True
        super().on_message_begin()
        self.scope["extensions"] = _PLAIN if self._files.can_send else _OVER_TLS

    def on_headers_complete(self) -> None:
        self._in_head = False
        size, hosts = len(self.url), 0
        for name, value in self.headers:
            size += len(name) + len(value)
            hosts += name == b"host"
        if size > MAX_HEAD_BYTES:
            self._refusal = _TOO_LARGE
            raise _HeadRefused
        if hosts != 1 and self.parser.get_http_version() == "1.1":
            self._refusal = _NO_HOST
            raise _HeadRefused
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._owed_since = self.loop.time()
        super().on_response_complete()

    def _refuse(self) -> None:
        """As the errors that clients of a registry read."""
        self._malformed.note(self.client[0] if self.client else "", self._refusal.status)
        if self._is_answering:
            self.transport.abort()  # whatever is written now would pass for the answer's body
            return
        body = json.dumps({"errors": [{"code": "BAD_REQUEST", "message": self._refusal.sentence}]}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"cache-control", b"private, no-cache"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = [STATUS_LINE[self._refusal.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join([*lines, body]))
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _bound(self) -> None:
        """Data, however little, takes uvicorn's timer away."""
        if self.timeout_keep_alive_task is None and not self._is_answering and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_at(
                self._owed_since + self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

"""An app that is observed: each request gets an id, is counted, and leaves a line in the log.

Belongs here: what holds for every request, whatever answers it. It is plain ASGI and on the way of all of them.
"""

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry_proxy.endpoints.access_log import AccessLog, Answer
from registry_proxy.endpoints.exchange import Exchange
from registry_proxy.log import REQUEST_ID
from registry_proxy.request_metrics import RequestMetrics
from registry_proxy.whole_answer import WHOLE

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_BEGINS, _GOES_ON = ("http.response.start", WHOLE), ("http.response.body", WHOLE)
_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"))


class Observed:
    """Wraps `app`. Without `access_log` there are no lines."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: RequestMetrics,
        access_log: AccessLog | None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app, self._metrics, self._access_log, self._clock = app, metrics, access_log, clock
        self._prefix, self._numbers = secrets.token_hex(6), count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock()
        exchange, answer = Exchange(self._request_id(scope)), Answer()
        exchange.enter(scope)
        REQUEST_ID.set(exchange.request_id)
        self._metrics.in_flight += 1
        try:
            await self._app(scope, receive, _observing(send, answer, exchange, has_body=scope["method"] != "HEAD"))
        finally:
            self._metrics.in_flight -= 1
            self._answered(scope, exchange, answer, self._clock() - began)

    def _request_id(self, scope: Scope) -> str:
        """The client's own, when it is sane; else one that no other replica makes."""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _SANE_ID.fullmatch(value):
                return str(value, "ascii")
        return f"{self._prefix}-{next(self._numbers)}"

    def _answered(self, scope: Scope, exchange: Exchange, answer: Answer, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.answered(exchange.route, method, answer.status, seconds, answer.sent_bytes)
        if self._access_log is not None:
            client = scope["client"][0] if scope.get("client") else ""
            self._access_log.answered(exchange, method, scope["path"], client, answer, seconds)


def _observing(send: Send, answer: Answer, exchange: Exchange, *, has_body: bool) -> Send:
    """`send`, with the id in the answer's headers, noting what is sent."""

    def observe(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind in _BEGINS:
            answer.status = message["status"]
            named = (b"x-request-id", exchange.request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), named]}
        if kind in _GOES_ON:
            if has_body:
                answer.sent_bytes += len(message.get("body", b""))
            answer.complete = not message.get("more_body", False)
        return send(message)

    return observe

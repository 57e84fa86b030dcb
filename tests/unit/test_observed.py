"""Every request gets an id, is counted, and leaves a line; whatever answers it, and however."""

import asyncio
import io
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flox_formats.environment import EnvironmentName
from registry_proxy.endpoints.access_log import AccessLog
from registry_proxy.endpoints.exchange import exchange_of
from registry_proxy.endpoints.observed import Observed
from registry_proxy.log import REQUEST_ID, Log
from registry_proxy.request_metrics import RequestMetrics

Told = Mapping[str, Any]


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"etag", b"x")]})
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})
    await send({"type": "http.response.body", "body": b"678"})


async def nothing_to_receive() -> Message:
    return {"type": "http.disconnect"}


def observe(app: ASGIApp, **scope: Any) -> tuple[list[Message], Told, RequestMetrics]:
    """What a client gets, what the log says, what is counted."""
    sent, stream, metrics = list[Message](), io.StringIO(), RequestMetrics()

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        log = Log(stream)
        asked = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("10.0.0.1", 5), **scope}
        try:
            await Observed(app, metrics, AccessLog(log))(asked, nothing_to_receive, send)
        finally:
            log.flush()

    with suppress(LookupError):
        asyncio.run(ask())
    (line,) = stream.getvalue().splitlines()
    return sent, json.loads(line), metrics


def counted(metrics: RequestMetrics) -> dict[tuple[str, ...], float]:
    (requests,) = [family for family in metrics.collect() if family.name == "floxbridge_requests"]
    return {tuple(one.labels.values()): one.value for one in requests.samples}


def test_a_request_leaves_a_line_and_is_counted() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        exchange.route, exchange.environment = "manifests", EnvironmentName.parse("acme/web")
        exchange.generation, exchange.outcome = 12, "fresh"
        await plain(scope, receive, send)

    sent, line, metrics = observe(app, path="/v2/x/manifests/live", headers=[(b"x-request-id", b"node-7.1_a")])
    assert (b"x-request-id", b"node-7.1_a") in sent[0]["headers"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert line["ms"] >= 0
    assert {key: value for key, value in line.items() if key not in ("time", "ms")} == {
        "event": "request",
        "method": "GET",
        "path": "/v2/x/manifests/live",
        "status": 200,
        "bytes": 8,
        "client": "10.0.0.1",
        "request_id": "node-7.1_a",
        "environment": "acme/web",
        "generation": 12,
        "outcome": "fresh",
    }
    assert counted(metrics) == {("manifests", "GET", "200"): 1}


def test_head_sends_no_bytes() -> None:
    assert observe(plain, method="HEAD")[1]["bytes"] == 0


def test_neither_a_query_nor_a_header_is_logged() -> None:
    secret = [(b"authorization", b"Bearer flox_secret"), (b"cookie", b"flox_secret")]
    _, line, _ = observe(plain, query_string=b"token=flox_secret", headers=secret)
    assert "flox_secret" not in json.dumps(line)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"a" * 65, id="too-long"),
        pytest.param(b'a", "admin": "yes', id="breaks-out"),
        pytest.param(b"a b", id="space"),
        pytest.param("é".encode(), id="not-ascii"),
        pytest.param(b"a\n", id="newline"),
    ],
)
def test_an_id_that_is_not_sane_is_replaced(header: bytes) -> None:
    sent, line, _ = observe(plain, headers=[(b"x-request-id", header)])
    assert re.fullmatch(r"[0-9a-f]{12}-1", line["request_id"])
    assert (b"x-request-id", line["request_id"].encode()) in sent[0]["headers"]


def test_headers_of_an_answer_that_is_sent_twice_stay_as_they_were() -> None:
    headers = [(b"etag", b"x")]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body"})

    observe(app)
    assert headers == [(b"etag", b"x")]


async def _breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise LookupError("gone")


async def _never_answers(scope: Scope, receive: Receive, send: Send) -> None:
    raise LookupError("gone")


@pytest.mark.parametrize(
    ("app", "status", "size"),
    [pytest.param(_breaks_off, 200, 4, id="midway"), pytest.param(_never_answers, 500, 0, id="before")],
)
def test_an_answer_that_breaks_off_is_counted_and_says_so(app: ASGIApp, status: int, size: int) -> None:
    _, line, metrics = observe(app)
    assert (line["status"], line["bytes"], line["complete"]) == (status, size, False)
    assert (counted(metrics), metrics.in_flight) == ({("other", "GET", str(status)): 1}, 0)


@given(path=st.text(), method=st.text(max_size=10))
def test_any_path_and_method_make_one_line_of_json(path: str, method: str) -> None:
    _, line, metrics = observe(plain, path=path, method=method)
    assert line["path"] == path[:400]
    assert line["method"] in ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "other")
    assert len(counted(metrics)) == 1


def test_in_flight_is_what_is_not_over() -> None:
    seen = list[int]()

    async def test() -> None:
        metrics, begun, go_on = RequestMetrics(), asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            begun.set()
            await go_on.wait()

        async def send(message: Message) -> None:
            pass

        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        task = asyncio.create_task(_ask(Observed(app, metrics, None), scope, send))
        await begun.wait()
        seen.append(metrics.in_flight)
        go_on.set()
        await task
        seen.append(metrics.in_flight)

    asyncio.run(asyncio.wait_for(test(), 20))
    assert seen == [1, 0]


async def _ask(app: ASGIApp, scope: Scope, send: Send) -> None:
    await app(scope, nothing_to_receive, send)


def test_the_id_is_at_hand_for_what_libraries_log() -> None:
    seen = list[str | None]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(REQUEST_ID.get())
        await plain(scope, receive, send)

    observe(app, headers=[(b"x-request-id", b"abc")])
    assert seen == ["abc"]

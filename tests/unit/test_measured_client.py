"""Requests to binary caches are measured however they end."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from registry_proxy.nix.measured_client import MeasuredClient

Answer = Callable[[httpx2.Request], httpx2.Response]


class Told:
    def __init__(self) -> None:
        self.answered, self.received = list[tuple[str, str]](), list[int]()

    def upstream_answered(self, upstream: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.answered.append((upstream, outcome))

    def upstream_sent(self, upstream: str, received_bytes: int) -> None:
        self.received.append(received_bytes)


class Breaking(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise httpx2.ReadError("gone")


def timeout(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectTimeout("slow")


def unreachable(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("refused")


def redirected(request: httpx2.Request) -> httpx2.Response:
    if request.url.path == "/x":
        return httpx2.Response(302, headers={"Location": "/elsewhere"})
    return httpx2.Response(200, stream=httpx2.ByteStream(b"1234"))


async def ask(told: Told, answer: Answer, *, read: bool = True) -> None:
    async with (
        MeasuredClient(told, transport=httpx2.MockTransport(answer), follow_redirects=True) as http,
        http.stream("GET", "http://cache/x") as response,
    ):
        if read:
            await response.aread()


@pytest.mark.parametrize(
    ("answer", "outcome", "received"),
    [
        pytest.param(lambda _: httpx2.Response(200, stream=httpx2.ByteStream(b"1234")), "ok", [4], id="ok"),
        pytest.param(redirected, "ok", [4], id="redirected"),
        pytest.param(lambda _: httpx2.Response(404), "not_found", [0], id="404"),
        pytest.param(lambda _: httpx2.Response(403), "not_found", [0], id="403-of-a-bucket"),
        pytest.param(lambda _: httpx2.Response(401), "failed", [0], id="401"),
        pytest.param(lambda _: httpx2.Response(503, stream=httpx2.ByteStream(b"no")), "failed", [2], id="503"),
        pytest.param(lambda _: httpx2.Response(200, stream=Breaking()), "cut_off", [4], id="cut-off"),
        pytest.param(timeout, "timeout", [], id="timeout"),
        pytest.param(unreachable, "unreachable", [], id="unreachable"),
    ],
)
def test_a_request_is_told_once(answer: Answer, outcome: str, received: list[int]) -> None:
    told = Told()
    try:
        asyncio.run(ask(told, answer))
    except httpx2.HTTPError:
        assert outcome in ("cut_off", "timeout", "unreachable")
    assert (told.answered, told.received) == ([("nix_cache", outcome)], received)


def test_a_reader_that_stops_early_has_cut_off_nothing() -> None:
    told = Told()
    asyncio.run(ask(told, lambda _: httpx2.Response(200, stream=Breaking()), read=False))
    assert told.answered == [("nix_cache", "ok")]


def test_a_body_that_is_read_at_once_is_told_once() -> None:
    told = Told()

    async def get() -> None:
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=httpx2.ByteStream(b"1234")))
        async with MeasuredClient(told, transport=transport) as http:
            await http.get("http://cache/x")

    asyncio.run(get())
    assert (told.answered, told.received) == ([("nix_cache", "ok")], [4])

"""No exception of the HTTP library gets past its adapter, and every deadline ends in a sentence."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from shim_hooks.errors import NodeError, RegistryUnavailable
from shim_hooks.registry.http import Interrupted, RegistryHttp

pytestmark = pytest.mark.anyio


def below(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(one for child in kind.__subclasses__() for one in below(child))]


FOREIGN = sorted(
    {*below(httpx2.HTTPError), *below(httpx2.InvalidURL), *below(httpx2.StreamError)} - {httpx2.HTTPStatusError},
    key=lambda kind: kind.__name__,
)


def make(kind: type[Exception]) -> Exception:
    """Some take a sentence, some make their own."""
    try:
        return kind("broken")
    except TypeError:
        return kind()


def failing(kind: type[Exception]) -> RegistryHttp:
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise make(kind)

    return http(httpx2.MockTransport(fail))


def http(transport: httpx2.AsyncBaseTransport) -> RegistryHttp:
    return RegistryHttp("http://registry.invalid", connect_timeout_s=1, idle_timeout_s=1, transport=transport)


async def read(registry: RegistryHttp, *, deadline_s: float = 20) -> bytes:
    return await registry.read("/v2/", asking="asking", accept="*/*", limit=10, deadline_s=deadline_s)


@pytest.mark.parametrize("kind", FOREIGN)
async def test_reading(kind: type[Exception]) -> None:
    with pytest.raises(NodeError, match=r"asking: .*http://registry\.invalid"):
        await read(failing(kind))


@pytest.mark.parametrize("kind", FOREIGN)
async def test_fetching_a_blob(kind: type[Exception]) -> None:
    registry = failing(kind)
    with pytest.raises((NodeError, Interrupted), match=r"http://registry\.invalid"):
        async with registry.blob("/v2/", asking="asking", size=1, position=0, received=print):
            pass


async def test_a_kept_connection_that_was_closed_gets_a_second_try() -> None:
    failures = [httpx2.RemoteProtocolError("closed")]

    async def body() -> AsyncIterator[bytes]:
        yield b"ok"

    def answer(request: httpx2.Request) -> httpx2.Response:
        if failures:
            raise failures.pop()
        return httpx2.Response(200, content=body())

    assert await read(http(httpx2.MockTransport(answer))) == b"ok"


async def test_a_deadline() -> None:
    async def never(request: httpx2.Request) -> httpx2.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(RegistryUnavailable, match=r"asking: the registry at .* did not answer within 0\.05 s"):
        await read(http(httpx2.MockTransport(never)), deadline_s=0.05)

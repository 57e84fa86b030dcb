"""Narinfos as caches send them: plain as they were asked for, or encoded all the same, and never without a bound."""

import gzip
import sys
import tracemalloc
from collections.abc import Callable

import httpx2
import pytest

from flox_formats.narinfo import MAX_BYTES
from flox_formats.store_path import StorePath
from flox_formats.url import HttpUrl
from registry_proxy.errors import ClosureUnavailable
from registry_proxy.nix.binary_cache import HttpBinaryCache
from tests.unit.test_narinfo import CURL, CURL_PATH

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.anyio

PATH = StorePath.parse(CURL_PATH)
MUCH = bytes(MAX_BYTES + 1)


def cache(body: bytes, encoding: str | None) -> HttpBinaryCache:
    headers = {} if encoding is None else {"Content-Encoding": encoding}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(body))

    return HttpBinaryCache(HttpUrl("http://cache"), httpx2.AsyncClient(transport=httpx2.MockTransport(answer)))


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        pytest.param(CURL, None, id="plain"),
        pytest.param(CURL, "identity", id="identity"),
        pytest.param(gzip.compress(CURL), "gzip", id="gzip"),
        pytest.param(gzip.compress(CURL), "X-GZIP", id="x-gzip"),
        pytest.param(zstd.compress(CURL), "zstd", id="zstd"),
    ],
)
async def test_reads(body: bytes, encoding: str | None) -> None:
    narinfo = await cache(body, encoding).narinfo(PATH)
    assert narinfo is not None
    assert narinfo.to_bytes() == CURL


@pytest.mark.parametrize(
    ("body", "encoding", "problem"),
    [
        pytest.param(MUCH, None, "sent more than a narinfo can be", id="large"),
        pytest.param(gzip.compress(MUCH), "gzip", "sent more than a narinfo can be", id="large-in-gzip"),
        pytest.param(zstd.compress(MUCH), "zstd", "sent more than a narinfo can be", id="large-in-zstd"),
        pytest.param(CURL, "br", "is encoded with 'br', which is not undone: only gzip, x-gzip, zstd are", id="brotli"),
        pytest.param(gzip.compress(CURL), "gzip, gzip", "is encoded with 'gzip, gzip'", id="twice"),
        pytest.param(CURL, "gzip", "is not encoded with gzip, as it says", id="not-gzip"),
        pytest.param(CURL, "zstd", "is not encoded with zstd, as it says", id="not-zstd"),
        pytest.param(gzip.compress(CURL)[:-20], "gzip", "is encoded, and cut off", id="cut-off-gzip"),
        pytest.param(zstd.compress(CURL)[:-20], "zstd", "is encoded, and cut off", id="cut-off-zstd"),
    ],
)
async def test_refuses(body: bytes, encoding: str | None, problem: str) -> None:
    with pytest.raises(ClosureUnavailable) as caught:
        await cache(body, encoding).narinfo(PATH)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [pytest.param(gzip.compress, "gzip", id="gzip"), pytest.param(zstd.compress, "zstd", id="zstd")],
)
async def test_a_bomb_takes_no_memory(encode: Callable[[bytes], bytes], encoding: str) -> None:
    body = encode(bytes(200_000_000))
    assert len(body) < MAX_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(ClosureUnavailable, match="sent more than a narinfo can be"):
            await cache(body, encoding).narinfo(PATH)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()

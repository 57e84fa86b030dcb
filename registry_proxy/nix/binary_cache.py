"""A Nix binary cache, over HTTP or in a folder: the adapters that fetch narinfos and NARs.

Belongs here: transport, and what its failures mean. A path is missing only where the cache truly said 404 (or 403, as
S3 buckets answer); anything else is NixCacheUnavailable, since Nix clients remember a 404 for an hour.
Layout of a cache: `<hash>.narinfo` at its root; the NAR where the narinfo's URL says.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import anyio.to_thread
import httpx2

from flox_formats.errors import FormatError
from flox_formats.narinfo import MAX_BYTES, NarInfo
from flox_formats.store_path import StorePath
from flox_formats.url import HttpUrl, place_of
from registry_proxy.errors import ClosureUnavailable, NixCacheUnavailable
from registry_proxy.nix.cache_url import parse_cache_url
from registry_proxy.nix.content_encoding import EncodingInvalid, decoded

_PIECE_BYTES = 256 * 1024
_ATTEMPTS = 3
_RETRY_DELAYS_S = (0.2, 1.0)
_MISSING = (403, 404)


class BinaryCache(Protocol):
    """`url` as configured, without what may be a secret: it is in answers, in the log and in the state directory."""

    url: str

    async def narinfo(self, path: StorePath) -> NarInfo | None:
        """Raises NixCacheUnavailable, and ClosureUnavailable for a narinfo that is not one."""
        ...

    def nar(self, url: str) -> AsyncIterator[bytes]:
        """The bytes behind a narinfo's URL. Raises NixCacheUnavailable."""
        ...


class HttpBinaryCache:
    """`http` brings the timeouts of single steps, and asks for what is not encoded. What `where` has besides its place
    goes with each request, and nowhere else."""

    def __init__(self, where: HttpUrl, http: httpx2.AsyncClient) -> None:
        self.url = where.place
        self._query, self._http = where.query, http
        self._auth = None if where.login is None else httpx2.BasicAuth(*where.login)

    async def narinfo(self, path: StorePath) -> NarInfo | None:
        url = f"{self.url}/{path.hash}.narinfo"
        for delay_s in (*_RETRY_DELAYS_S, None):
            try:
                data = await self._small(url)
                break
            except NixCacheUnavailable:
                if delay_s is None:
                    raise
                await asyncio.sleep(delay_s)
        return None if data is None else _parsed(data, path, self.url)

    async def nar(self, url: str) -> AsyncIterator[bytes]:
        place = f"{self.url}/{url}"
        try:
            async with self._asked(place) as response:
                if response.status_code != 200:
                    raise NixCacheUnavailable(f"binary cache {place} answered HTTP {response.status_code}")
                async for piece in response.aiter_raw():
                    yield piece
        except httpx2.HTTPError as error:
            raise _unreachable(place, error) from error

    async def _small(self, url: str) -> bytes | None:
        """A narinfo's bytes, bounded; None where there is none."""
        try:
            async with self._asked(url) as response:
                if response.status_code in _MISSING:
                    return None
                if response.status_code != 200:
                    raise NixCacheUnavailable(f"binary cache {url} answered HTTP {response.status_code}")
                data, encoding = await _start_of(response), response.headers.get("Content-Encoding", "")
        except httpx2.HTTPError as error:
            raise _unreachable(url, error) from error
        try:
            data = decoded(data, encoding, limit=MAX_BYTES)
        except EncodingInvalid as error:
            raise ClosureUnavailable(f"what binary cache {url} sent {error}") from error
        if len(data) > MAX_BYTES:
            raise ClosureUnavailable(f"binary cache {url} sent more than a narinfo can be")
        return data

    def _asked(self, place: str) -> AbstractAsyncContextManager[httpx2.Response]:
        """A narinfo's URL may have a query of its own."""
        url = f"{place}{'&' if '?' in place else '?'}{self._query}" if self._query else place
        return self._http.stream("GET", url, auth=self._auth)


class FolderBinaryCache:
    """A `file://` cache, as `nix copy --to file://…` makes one."""

    def __init__(self, url: str, root: Path) -> None:
        self.url, self._root = url, root

    async def narinfo(self, path: StorePath) -> NarInfo | None:
        place = self._root / f"{path.hash}.narinfo"
        try:
            data = await anyio.to_thread.run_sync(_read_bounded, place)
        except FileNotFoundError:
            await anyio.to_thread.run_sync(self._require_root)
            return None
        except OSError as error:
            raise NixCacheUnavailable(f"binary cache {place}: {error.strerror}") from error
        return _parsed(data, path, self.url)

    async def nar(self, url: str) -> AsyncIterator[bytes]:
        place = self._root / unquote(url)
        try:
            async with await anyio.open_file(place, "rb") as file:
                while piece := await file.read(_PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise NixCacheUnavailable(f"binary cache {place}: {error.strerror}") from error

    def _require_root(self) -> None:
        if not self._root.is_dir():
            raise NixCacheUnavailable(f"binary cache {self.url}: there is no such folder")


def open_cache(url: str, http: httpx2.AsyncClient) -> BinaryCache:
    """Raises SettingsInvalid for a URL that no adapter here can ask."""
    where = parse_cache_url(url)
    return (
        HttpBinaryCache(where, http)
        if isinstance(where, HttpUrl)
        else FolderBinaryCache(place_of(url).rstrip("/"), where)
    )


async def _start_of(response: httpx2.Response) -> bytes:
    """As it was sent; all of it, if that is no more than a narinfo may have."""
    data = b""
    async for piece in response.aiter_raw():
        data += piece
        if len(data) > MAX_BYTES:
            break
    return data


def _parsed(data: bytes, path: StorePath, cache: str) -> NarInfo:
    try:
        narinfo = NarInfo.parse(data)
    except FormatError as error:
        raise ClosureUnavailable(f"{path} in binary cache {cache}: {error}") from error
    if narinfo.store_path != path:
        raise ClosureUnavailable(f"{path} in binary cache {cache}: its narinfo is about {narinfo.store_path}")
    return narinfo


def _read_bounded(place: Path) -> bytes:
    with place.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _unreachable(url: str, error: httpx2.HTTPError) -> NixCacheUnavailable:
    slow = isinstance(error, httpx2.TimeoutException)
    problem = "did not answer in time" if slow else f"cannot be reached: {error or type(error).__name__}"
    return NixCacheUnavailable(f"binary cache {url} {problem}")

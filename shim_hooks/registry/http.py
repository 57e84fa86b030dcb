"""HTTP to the registry, and its failures in words. The only module here that knows httpx2.

Belongs here: connections, deadlines, bounds, what a status means. Does not: which documents there are.
"""

import asyncio
import copy
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Self, TypeVar

import httpx2

from shim_hooks.errors import ContentRejected, RegistryDenied, RegistryRefused, RegistryUnavailable
from shim_hooks.floxhub_token import FloxHubToken

T = TypeVar("T")
_ERROR_BYTES = 64 * 1024
_MAX_SENTENCE = 2000
_PIECE_BYTES = 1024 * 1024
_CUT = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError, httpx2.ReadTimeout)
"""A connection that worked and broke off, perhaps because the registry restarts: worth another try."""
_OTHER = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)
_PASSING = {429, 502, 503, 504}
"""Statuses that say: later."""
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")


class Interrupted(Exception):
    """A download that may go on where it was. The message says what happened."""


class RegistryHttp:
    """`base_url` as a person would write it, `http://HOST:PORT`. Raises RegistryUnavailable, RegistryRefused.

    `connect_timeout_s` is for opening a connection, `idle_timeout_s` for one on which nothing comes any more.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float,
        idle_timeout_s: float,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._authorization: dict[str, str] = {}
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(idle_timeout_s, connect=connect_timeout_s),
            # Digests are of the bytes as they are: nothing on the way may compress them.
            headers={"Accept-Encoding": "identity", "User-Agent": "floxbridge-node"},
            follow_redirects=False,
            trust_env=False,  # a proxy that was set for other programs does not know the cluster
            transport=transport,
        )

    def with_token(self, token: FloxHubToken | None) -> Self:
        """The same connections, for one pod. The original one's token, if it has any, does not count then."""
        other = copy.copy(self)
        other._authorization = {} if token is None else {"Authorization": token.authorization}
        return other

    async def is_there(self, path: str, *, asking: str, deadline_s: float) -> bool:
        """Whether the registry would send it. Why not, `read` says."""
        request = self._client.build_request("HEAD", self._base_url + path, headers=self._authorization)
        return await self._twice(asking, deadline_s, lambda: self._has_once(request, asking))

    async def read(
        self,
        path: str,
        *,
        asking: str,
        accept: str,
        limit: int,
        deadline_s: float,
        parameters: Mapping[str, str] | None = None,
    ) -> bytes:
        """A whole answer of at most `limit` bytes; `asking` begins the message of every error.

        A connection that broke off gets a second try: one that was kept open may have been closed at the other end.
        """
        request = self._client.build_request(
            "GET", self._base_url + path, params=parameters, headers={"Accept": accept, **self._authorization}
        )
        return await self._twice(asking, deadline_s, lambda: self._read_once(request, limit, asking))

    @asynccontextmanager
    async def blob(
        self, path: str, *, asking: str, size: int, position: int, received: Callable[[int], None]
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """A blob of `size` bytes from `position` on: where it really begins, `position` or 0, and its pieces.

        `received` is told how many bytes came, each time some did; pieces are larger, to be worth a thread each.
        Raises Interrupted for what may be better a moment later, whether here or while the pieces are read.
        """
        headers = {**self._authorization, **({"Range": f"bytes={position}-"} if position else {})}
        try:
            async with self._client.stream("GET", self._base_url + path, headers=headers) as response:
                if response.status_code in _PASSING:
                    raise Interrupted(f"the registry at {self._base_url} answers with status {response.status_code}")
                if response.status_code not in (200, 206):
                    raise await self._refusal(response, asking)
                start = _start(response, asking, size, position)
                async with aclosing(_pieces(response, received)) as pieces:
                    yield start, pieces
        except _CUT as problem:
            raise Interrupted(self._cut(problem)) from problem
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as problem:
            raise Interrupted(self._unreachable(problem)) from problem
        except _OTHER as problem:
            raise RegistryUnavailable(f"{asking}: {self._unreachable(problem)}") from problem

    async def date(self, path: str, *, asking: str, deadline_s: float) -> str:
        """When the registry answers, by its own clock, as it writes that; "" where it does not say."""
        async with self.deadline(asking, deadline_s):
            try:
                async with self._client.stream("GET", self._base_url + path) as response:
                    return str(response.headers.get("Date", ""))
            except _CUT as problem:
                raise RegistryUnavailable(f"{asking}: {self._cut(problem)}") from problem
            except _OTHER as problem:
                raise RegistryUnavailable(f"{asking}: {self._unreachable(problem)}") from problem

    @asynccontextmanager
    async def deadline(self, asking: str, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as problem:
            raise RegistryUnavailable(
                f"{asking}: the registry at {self._base_url} did not answer within {seconds:g} s. Look at its log"
            ) from problem

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _twice(self, asking: str, deadline_s: float, once: Callable[[], Awaitable[T]]) -> T:
        async with self.deadline(asking, deadline_s):
            try:
                return await once()
            except _CUT:
                pass
            try:
                return await once()
            except _CUT as problem:
                raise RegistryUnavailable(f"{asking}: {self._cut(problem)}. Look at the registry's log") from problem

    async def _has_once(self, request: httpx2.Request, asking: str) -> bool:
        try:
            return (await self._client.send(request)).status_code == 200
        except _CUT:
            raise
        except _OTHER as problem:
            raise RegistryUnavailable(f"{asking}: {self._unreachable(problem)}") from problem

    async def _read_once(self, request: httpx2.Request, limit: int, asking: str) -> bytes:
        try:
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code != 200:
                    raise await self._refusal(response, asking)
                return await _body(response, limit, asking)
            finally:
                await response.aclose()
        except _CUT:
            raise
        except _OTHER as problem:
            raise RegistryUnavailable(f"{asking}: {self._unreachable(problem)}") from problem

    async def _refusal(self, response: httpx2.Response, asking: str) -> RegistryRefused | RegistryUnavailable:
        """An answer that is none, as the error that carries the registry's own sentence."""
        status = response.status_code
        if 300 <= status < 400:
            target = response.headers.get("Location", "")[:300]
            said = f"go to {target!r}, which is not done; set registry_url to where the registry is"
        else:
            said = _sentence(await _start_of(response)) or f"HTTP status {status}, without a word of explanation"
        kind: type[RegistryRefused | RegistryUnavailable] = RegistryDenied if status in (401, 403) else RegistryRefused
        if status >= 500 or status in _PASSING:
            kind = RegistryUnavailable
        return kind(f"{asking}: the registry at {self._base_url} answers: {said}")

    def _cut(self, problem: Exception) -> str:
        return f"the connection to the registry at {self._base_url} broke off ({_reason(problem)})"

    def _unreachable(self, problem: Exception) -> str:
        return (
            f"the registry at {self._base_url} cannot be reached ({_reason(problem)}). "
            "Check that it runs, that registry_url is its address and that this node can connect to it"
        )


def _start(response: httpx2.Response, asking: str, size: int, position: int) -> int:
    """The first byte that a good answer to a blob request has. Raises ContentRejected for one of another blob."""
    start, whole = 0, response.headers.get("Content-Length")
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match.group(1)) != position:
            raise ContentRejected(f"{asking}: asked for bytes from {position} on, the registry sent others")
        start, whole = position, match.group(2)
    if whole is not None and whole != str(size):
        raise ContentRejected(f"{asking}: the closure promises {size} bytes, the registry has {whole[:20]}")
    return start


async def _pieces(response: httpx2.Response, received: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    """The body as it came. What came before a cut is not lost."""
    pieces, size = list[bytes](), 0
    try:
        async for piece in response.aiter_raw():
            pieces.append(piece)
            size += len(piece)
            received(len(piece))
            if size >= _PIECE_BYTES:
                yield b"".join(pieces)
                pieces, size = [], 0
    except _CUT:
        if pieces:
            yield b"".join(pieces)
        raise
    if pieces:
        yield b"".join(pieces)


async def _body(response: httpx2.Response, limit: int, asking: str) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > limit:
            raise ContentRejected(f"{asking}: the registry sent more than the {limit} bytes that can be right")
    return bytes(body)


async def _start_of(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) >= _ERROR_BYTES:
            break
    return bytes(body)


def _sentence(body: bytes) -> str:
    """What the registry says to a person: the messages of OCI's error document. Empty for anything else.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
    """
    try:
        errors = json.loads(body)["errors"]
        messages = [error["message"] for error in errors]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    text = "; ".join(message for message in messages if isinstance(message, str))
    return "".join(character if character.isprintable() else " " for character in text)[:_MAX_SENTENCE].strip()


def _reason(problem: Exception) -> str:
    return str(problem) or type(problem).__name__

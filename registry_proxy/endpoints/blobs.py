"""`/v2/<name>/blobs/<digest>`: whole or in part, from disk or from a download that is under way."""

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from flox_formats.digest import Digest
from registry_proxy.content.file_span import FILE_BODIES, FileSpan, OpenFile
from registry_proxy.content.page_cache import PIECE_BYTES, read_at
from registry_proxy.content.store import StoredBlob
from registry_proxy.endpoints.answers import API_VERSION, matches_etag, of_environment
from registry_proxy.endpoints.callers import Callers
from registry_proxy.endpoints.paths import asked_repository
from registry_proxy.errors import BlobUnknown, RangeUnsatisfiable
from registry_proxy.floxhub.credential import View
from registry_proxy.images.content import Content
from registry_proxy.images.reference import EmptyRepository, parse_digest
from registry_proxy.repositories.empty import EmptyImages
from registry_proxy.repositories.environments import AwayBlob, EnvironmentImages

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))", re.IGNORECASE)
_BLOB_TYPE = "application/octet-stream"
_SPAN_BYTES = 2 * 1024 * 1024
"""Counted as sent when it is given to the server: the log of a client that goes away is wrong by this much at most."""


class Blobs:
    """GET and HEAD."""

    def __init__(self, empty: EmptyImages, environments: EnvironmentImages, callers: Callers) -> None:
        self._empty, self._environments, self._callers = empty, environments, callers

    async def __call__(self, request: Request) -> Response:
        repository = asked_repository(request)
        digest = parse_digest(request.path_params["digest"])
        if digest is None:
            raise BlobUnknown(
                f"{repository} has no blob {request.path_params['digest'][:200]}: all are named by sha256"
            )
        if isinstance(repository, EmptyRepository):
            return await answer_blob(request, digest, self._empty.blob(digest))
        view = View(repository.environment, await self._callers.credential(request))
        shown = await self._environments.blob(view, digest)
        return of_environment(request, await answer_blob(request, digest, shown.content), shown.resolution)


async def answer_blob(request: Request, digest: Digest, blob: Content | StoredBlob | AwayBlob) -> Response:
    """Raises RangeUnsatisfiable, and what prevents a download. Nothing is downloaded for an answer without a body."""
    etag = f'"{digest}"'
    headers = {**API_VERSION, "Docker-Content-Digest": str(digest), "ETag": etag, "Accept-Ranges": "bytes"}
    if matches_etag(request, etag):
        return Response(status_code=304, headers=headers)
    size = len(blob.data) if isinstance(blob, Content) else blob.size
    span = asked_range(_range_of(request, etag), size)
    start, stop = span or (0, size)
    headers["Content-Length"] = str(stop - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    status = 200 if span is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=_BLOB_TYPE)
    return await _with_content(request, blob, _Part(start, stop, status, headers))


@dataclass(frozen=True, slots=True)
class _Part:
    """An answer's head, and which bytes of the blob come behind it."""

    start: int
    stop: int
    status: int
    headers: Mapping[str, str]


async def _with_content(request: Request, blob: Content | StoredBlob | AwayBlob, part: _Part) -> Response:
    start, stop, status, headers = part.start, part.stop, part.status, part.headers
    if isinstance(blob, Content):
        return Response(blob.data[start:stop], status, headers, media_type=_BLOB_TYPE)
    if isinstance(blob, AwayBlob):
        download = await blob.fetch()
        return StreamingResponse(download.stream(start, stop), status, headers, media_type=_BLOB_TYPE)
    if stop - start <= PIECE_BYTES:
        # Most of a closure's NARs are this small, and a stream costs a quarter of such an answer.
        piece = await anyio.to_thread.run_sync(_piece, blob.path, start, stop)
        return Response(piece, status, headers, media_type=_BLOB_TYPE)
    if FILE_BODIES in request.scope.get("extensions", ()):
        return _FileAnswer(blob.path, part)
    return StreamingResponse(_file_chunks(blob.path, start, stop), status, headers, media_type=_BLOB_TYPE)


def _range_of(request: Request, etag: str) -> str:
    """RFC 9110: a range is of a GET (14.2), and with If-Range of what its author already has (13.1.5).

    A date in If-Range matches nothing, since no answer here has a Last-Modified.
    """
    if request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return ""
    return request.headers.get("range", "")


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and the byte after the last; None for the whole. Raises RangeUnsatisfiable.

    A range that is not understood is ignored, as RFC 9110 section 14.2 wants.
    """
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
    if first is not None and last is not None and int(last) < int(first):
        return None
    if start >= stop:
        raise RangeUnsatisfiable(header, size)
    return start, stop


def _piece(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), stop - start, start)


async def _file_chunks(path: Path, start: int, stop: int) -> AsyncIterator[bytes | memoryview]:
    with closing(await anyio.to_thread.run_sync(OpenFile.open, path)) as file:
        while start < stop:
            chunk = await read_at(file.handle, stop - start, start)
            if not chunk:
                return
            yield chunk
            start += len(chunk)


class _FileAnswer(StreamingResponse):
    """As a stream of `_file_chunks`, for a server that sends spans of files itself."""

    def __init__(self, path: Path, part: _Part) -> None:
        super().__init__((), part.status, part.headers, media_type=_BLOB_TYPE)
        self._path, self._start, self._stop = path, part.start, part.stop

    async def stream_response(self, send: Send) -> None:
        with closing(await anyio.to_thread.run_sync(OpenFile.open, self._path)) as file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for at in range(self._start, self._stop, _SPAN_BYTES):
                span = FileSpan(file, at, min(_SPAN_BYTES, self._stop - at))
                await send({"type": "http.response.body", "body": span, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})  # taken when the last span was

"""How content and errors look on the wire: the one place where either becomes a response.

Errors: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
"""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry_proxy.endpoints.exchange import exchange_of
from registry_proxy.errors import (
    FloxHubGarbled,
    FloxHubUnavailable,
    MethodUnsupported,
    RangeUnsatisfiable,
    RegistryError,
)
from registry_proxy.floxhub.resolver import Outcome, Resolution
from registry_proxy.images.content import Content

READING = ("GET", "HEAD")
"""The methods of every route."""
API_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
CHALLENGE = 'Basic realm="FloxHub: user oauth, password a FloxHub token", charset="UTF-8"'
NOT_SHARED = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
"""On what depends on who asks: a cache for many clients may not keep it, and one for a single client asks each time
whether it still holds, which the ETag makes cheap."""
_WORDS = {400: "BAD_REQUEST", 404: "NOT_FOUND", 405: "UNSUPPORTED"}


def answer_content(request: Request, content: Content) -> Response:
    """Content with its digest; 304 without a body when the client has it already."""
    etag = f'"{content.digest}"'
    headers = {**API_VERSION, "Docker-Content-Digest": str(content.digest), "ETag": etag}
    if matches_etag(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content.data, headers=headers, media_type=content.media_type)


def of_environment(request: Request, answer: Response, resolution: Resolution) -> Response:
    """An environment's answer, which says how FloxHub's was come by, and how many whole seconds ago."""
    exchange_of(request.scope).outcome = resolution.outcome
    answer.headers.update({**NOT_SHARED, **resolution_headers(resolution)})
    return answer


def resolution_headers(resolution: Resolution) -> dict[str, str]:
    return {"Floxbridge-Resolution": resolution.outcome.value, "Age": str(int(resolution.age_s))}


def matches_etag(request: Request, etag: str) -> bool:
    """A field of several lines is one list (RFC 9110 5.3)."""
    asked = ",".join(request.headers.getlist("if-none-match"))
    return asked.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in asked.split(","))


def answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RegistryError)
    if isinstance(error, FloxHubUnavailable | FloxHubGarbled):
        exchange_of(request.scope).outcome = Outcome.FAILED
    headers = dict(API_VERSION)
    if isinstance(error, MethodUnsupported):
        headers["Allow"] = ", ".join(READING)
    if isinstance(error, RangeUnsatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    status = error.status
    if status in (401, 403) and is_mirror_traffic(request):
        # Mirror traffic. A 401 would attract the secret that was meant for the registry that we stand before, and
        # either would stop some clients from going on to it.
        status = 404
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    return _error(status, error.code, str(error), headers)


def is_mirror_traffic(request: Request) -> bool:
    """Whether the client takes us for a mirror, and may have another registry's credentials for us."""
    return "ns" in request.query_params


def answer_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: a path that is no route."""
    assert isinstance(error, HTTPException)
    message = f"{request.url.path[:200]}: {error.detail}"
    headers = {**API_VERSION, **(error.headers or {})}
    return _error(error.status_code, _WORDS.get(error.status_code, "UNKNOWN"), message, headers)


def answer_unforeseen(request: Request, error: Exception) -> Response:
    """A mistake of ours: the log has the traceback, the client a sentence without details."""
    return _error(500, "UNKNOWN", "the registry made a mistake; its log says more", dict(API_VERSION))


def _error(status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status, {**NOT_SHARED, **headers})

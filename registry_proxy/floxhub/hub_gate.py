"""The gate in front of git: what of an HTTP request to a local FloxHub git is given to answer.

Belongs here: reading as much of a request as must be judged first. Judging is in `hub_view.py`, running git in
`cgi.py`. A request of a caller from whom nothing is hidden passes unread.
"""

from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.requests import Request

from registry_proxy.floxhub.hub_caller import read_caller
from registry_proxy.floxhub.hub_tokens import HubTokens
from registry_proxy.floxhub.hub_view import HubView, TokenWanted
from registry_proxy.floxhub.upload_pack_request import (
    MAX_BYTES,
    UploadPackRequest,
    UploadPackRequestInvalid,
    unpack,
)

_BODY_S = 60.0


@dataclass(frozen=True, slots=True)
class Admitted:
    """How git answers: with these settings more, and on `body`; None stands for the one that is still to come."""

    settings: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class HubGate:
    """Without `tokens` nobody sees what is private. Each of `threads` looks at one request."""

    root: Path
    tokens: HubTokens | None
    threads: anyio.CapacityLimiter

    async def admit(self, owner: str, service: str, request: Request) -> Admitted:
        """Raises HubError, UploadPackRequestInvalid, and ClientDisconnect when nobody is left to answer."""
        authorization = [value for name, value in request.headers.raw if name == b"authorization"]
        view = await anyio.to_thread.run_sync(self._view, owner, authorization, limiter=self.threads)
        if view is None:
            return Admitted()
        if "git-receive-pack" in (service, request.query_params.get("service")):
            raise view.refuse_push()
        view.check_opens()
        if service != "git-upload-pack":
            return Admitted(view.settings())
        body = await _body(request)
        encoding = request.headers.get("content-encoding", "")
        passed = await anyio.to_thread.run_sync(_passed, view, body, encoding, limiter=self.threads)
        return Admitted(view.settings(), passed)

    def _view(self, owner: str, authorization: list[bytes]) -> HubView | None:
        caller = read_caller(authorization, self.tokens)
        if caller is None:
            raise TokenWanted("the token is not known here, or has expired")
        return HubView.of(self.root, owner, caller)


def _passed(view: HubView, body: bytes, encoding: str) -> bytes:
    return view.passed(UploadPackRequest.parse(unpack(body, encoding))).to_bytes()


async def _body(request: Request) -> bytes:
    body = bytearray()
    with anyio.move_on_after(_BODY_S) as waiting:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                raise UploadPackRequestInvalid(f"upload-pack request: more than the {MAX_BYTES} bytes that are read")
    if waiting.cancelled_caught:
        raise UploadPackRequestInvalid(f"upload-pack request: not all of it came within {_BODY_S:.0f} s")
    return bytes(body)

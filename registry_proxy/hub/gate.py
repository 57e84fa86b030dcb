"""The gate in front of git: what of an HTTP request to a local FloxHub git is given to answer.

Belongs here: which requests are judged, and when. Judging is in `view.py`, waiting for a request in `body.py`,
running git in `cgi.py`. Where nothing is hidden from a caller the request passes unread, but git still shows those
branches only that were there when we looked: one that is made a moment later may be private.
"""

from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.requests import Request

from registry_proxy.hub.body import WholeBody
from registry_proxy.hub.caller import read_caller
from registry_proxy.hub.tokens import HubTokens
from registry_proxy.hub.upload_pack_request import UploadPackRequest, unpack
from registry_proxy.hub.view import HubView, TokenWanted

PUSH, FETCH = "git-receive-pack", "git-upload-pack"


@dataclass(frozen=True, slots=True)
class Admitted:
    """How git answers: with these settings more, and on `body`; None stands for the one that the client sent."""

    settings: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class HubGate:
    """Without `tokens` nobody sees what is private. Each of `threads` looks at one request."""

    root: Path
    tokens: HubTokens | None
    threads: anyio.CapacityLimiter

    async def refuse_early(self, owner: str, service: str, request: Request) -> None:
        """Raises HubError for a push that need not be waited for. One that passes is judged when all of it is there."""
        if service == PUSH:
            await self._admitted_view(owner, service, request)

    async def admit(self, owner: str, service: str, request: Request, body: WholeBody) -> Admitted:
        """Raises HubError, UploadPackRequestInvalid."""
        view = await self._admitted_view(owner, service, request)
        if service == PUSH:
            return Admitted()  # who pushes sees everything; and git would make no branch that is hidden
        if service != FETCH or not view.hides:
            return Admitted(view.settings())
        encoding = request.headers.get("content-encoding", "")
        passed = await anyio.to_thread.run_sync(_passed, view, await body.read(), encoding, limiter=self.threads)
        return Admitted(view.settings(), passed)

    async def _admitted_view(self, owner: str, service: str, request: Request) -> HubView:
        authorization = [value for name, value in request.headers.raw if name == b"authorization"]
        view = await anyio.to_thread.run_sync(self._view, owner, authorization, limiter=self.threads)
        if view.hides and PUSH in (service, request.query_params.get("service")):
            raise view.refuse_push()
        view.check_opens()
        return view

    def _view(self, owner: str, authorization: list[bytes]) -> HubView:
        caller = read_caller(authorization, self.tokens)
        if caller is None:
            raise TokenWanted("the token is not known here, or has expired")
        return HubView.of(self.root, owner, caller)


def _passed(view: HubView, body: bytes, encoding: str) -> bytes:
    return view.passed(UploadPackRequest.parse(unpack(body, encoding))).to_bytes()

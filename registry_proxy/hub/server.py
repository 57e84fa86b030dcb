"""A local FloxHub over HTTP: git's own http-backend, run for each request below `/git`.

Belongs here: which URLs there are, what git is told, and the answers that are not git's. Running it is in `cgi.py`,
waiting for a request in `body.py`, letting it through in `gate.py`, what the repositories hold in `local.py`.
Source: FH §1.7; `git help http-backend`. The server's address works as an on-prem base URL (FH §1.1).
"""

from dataclasses import dataclass
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from registry_proxy.hub.body import BodyReader, BodyRefused, WholeBody
from registry_proxy.hub.cgi import CgiProgram
from registry_proxy.hub.gate import PUSH, Admitted, HubGate
from registry_proxy.hub.local import REPOSITORY
from registry_proxy.hub.repository import HubError, git_environment
from registry_proxy.hub.tokens import HubTokens
from registry_proxy.hub.upload_pack_request import MAX_BYTES, UploadPackRequestInvalid
from registry_proxy.hub.view import NotShown, PushDenied, TokenWanted

_PROCESSES = 32
_WHOLE_S = 600.0
_IDLE_S = 60.0
"""A client that sends nothing of its request, or takes nothing of its answer, for so long is given up."""
_PUSH_BYTES = 256 * 1024 * 1024
_FILED_BYTES = 64 * 1024
"""More of a push lies on disk until all of it is there. A fetch lies in memory."""
_SERVICES = {"info/refs": "GET", "git-upload-pack": "POST", "git-receive-pack": "POST"}
_CHALLENGE = 'Basic realm="FloxHub", charset="UTF-8"'
_UPLOAD_PACK_RESULT = "application/x-git-upload-pack-result"
_UNJUDGED = [  # ways to name objects and refs that `view.py` does not judge; off by default in git, too
    ("uploadpack.allowFilter", "false"),
    ("uploadpack.allowRefInWant", "false"),
    ("uploadpack.allowAnySHA1InWant", "false"),
    ("transfer.advertiseObjectInfo", "false"),
]
_PASSED_ON = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": "CONTENT_LENGTH",
    b"content-encoding": "HTTP_CONTENT_ENCODING",
    b"git-protocol": "GIT_PROTOCOL",
}


def serve_hub_app(root: Path, *, allow_push: bool = False, tokens: HubTokens | None = None) -> Starlette:
    """The hub below `root`: what is public for anyone, what is private for those whom `tokens` let see it.

    With `allow_push`, whoever sees all environments of an owner may write as well; where all are public, anyone.
    """
    root = root.absolute()
    program = CgiProgram(["git", "http-backend"], max_body_bytes=_PUSH_BYTES, deadline_s=_WHOLE_S, idle_s=_IDLE_S)
    gate = HubGate(root, tokens, anyio.CapacityLimiter(_PROCESSES))
    turns = anyio.CapacityLimiter(_PROCESSES)
    fetches = BodyReader(MAX_BYTES, MAX_BYTES, root, _IDLE_S, _IDLE_S, anyio.CapacityLimiter(_PROCESSES))
    pushes = BodyReader(_PUSH_BYTES, _FILED_BYTES, root, _WHOLE_S, _IDLE_S, anyio.CapacityLimiter(_PROCESSES))
    return Starlette(
        routes=[
            Route(
                f"/git/{{owner}}/{REPOSITORY}/{service}",
                GitService(service, root, allow_push, gate, pushes if service == PUSH else fetches, program, turns),
                methods=[method],
            )
            for service, method in _SERVICES.items()
        ]
    )


@dataclass(frozen=True, slots=True)
class GitService:
    """One URL of every owner's repository, as an ASGI application. `turns` bounds how many processes there are."""

    service: str
    root: Path
    allow_push: bool
    gate: HubGate
    bodies: BodyReader
    program: CgiProgram
    turns: anyio.CapacityLimiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = scope["path_params"]["owner"]
        if not _is_owner(owner):
            await PlainTextResponse("no such owner\n", 404)(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            await self.gate.refuse_early(owner, self.service, request)
            async with self.bodies.whole(request) as body, self.turns:
                admitted = await self.gate.admit(owner, self.service, request, body)
                variables = self._variables(owner, scope, admitted, body)
                await self.program.answer(variables, scope, body.receiving(receive, admitted.body), send)
        except (HubError, UploadPackRequestInvalid) as error:  # none comes once git was started
            await _answer(error)(scope, receive, send)
        except ClientDisconnect:
            return

    def _variables(self, owner: str, scope: Scope, admitted: Admitted, body: WholeBody) -> dict[str, str]:
        headers = {
            variable: value.decode("latin-1")
            for name, value in scope["headers"]
            if (variable := _PASSED_ON.get(name)) is not None
        }
        headers["CONTENT_LENGTH"] = str(body.size if admitted.body is None else len(admitted.body))
        if admitted.body is not None:
            headers.pop("HTTP_CONTENT_ENCODING", None)
        return {
            **git_environment(),
            **headers,
            **self._configuration(admitted),
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{owner}/{REPOSITORY}/{self.service}",
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "REQUEST_METHOD": scope["method"],
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        }

    def _configuration(self, admitted: Admitted) -> dict[str, str]:
        """Settings for this one request, which no file of the repository overrides."""
        settings = [
            ("http.receivepack", "true" if self.allow_push else "false"),
            ("http.getanyfile", "false"),  # the smart protocol only: the other one hands out files
            ("receive.autogc", "false"),  # it would stay behind when the request is over
            ("safe.directory", "*"),  # whoever serves a hub need not be who wrote it; no other repository is opened
            *_UNJUDGED,
            *admitted.settings,
        ]
        pairs = [
            (f"GIT_CONFIG_{part}_{n}", text)
            for n, setting in enumerate(settings)
            for part, text in zip(("KEY", "VALUE"), setting, strict=True)
        ]
        return {"GIT_CONFIG_COUNT": str(len(settings)), **dict(pairs)}


def _answer(error: HubError | UploadPackRequestInvalid) -> Response:
    """A 403 is never bare: without the word in it Flox would take it for a failure (FH §1.6)."""
    match error:
        case TokenWanted():
            return PlainTextResponse(
                f"{error}; show a FloxHub token, as the password of any user\n", 401, {"WWW-Authenticate": _CHALLENGE}
            )
        case PushDenied():
            return PlainTextResponse(f"DENIED: {error}\n", 403)
        case NotShown():
            line = f"ERR {error}".encode()
            return Response(b"%04x%s" % (len(line) + 4, line), 200, media_type=_UPLOAD_PACK_RESULT)
        case BodyRefused():
            return PlainTextResponse(f"{error}\n", error.status)
        case UploadPackRequestInvalid():
            return PlainTextResponse(f"{error}\n", 400)
        case _:
            return PlainTextResponse("the hub cannot read this repository now\n", 500)


def _is_owner(text: str) -> bool:
    try:
        EnvironmentName(text, "any")
    except EnvironmentRefInvalid:
        return False
    return True

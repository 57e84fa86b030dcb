"""A local FloxHub over HTTP: git's own http-backend, run for each request below `/git`.

Belongs here: which URLs there are, and what git is told. Running it is in `cgi.py`, what the repositories hold in
`local.py`. Source: FH §1.7; `git help http-backend`. The server's address works as an on-prem base URL (FH §1.1).
"""

from dataclasses import dataclass
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from registry_proxy.floxhub.cgi import CgiProgram
from registry_proxy.floxhub.local import REPOSITORY
from registry_proxy.floxhub.local_repository import git_environment

_PROCESSES = 32
_SERVICES = {"info/refs": "GET", "git-upload-pack": "POST", "git-receive-pack": "POST"}
_PASSED_ON = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": "CONTENT_LENGTH",
    b"content-encoding": "HTTP_CONTENT_ENCODING",
    b"git-protocol": "GIT_PROTOCOL",
}


def serve_hub_app(root: Path, *, allow_push: bool = False) -> Starlette:
    """The hub below `root`, for anyone to read; with `allow_push`, for anyone to write as well."""
    program = CgiProgram(["git", "http-backend"], max_body_bytes=256 * 1024 * 1024, deadline_s=600)
    turns = anyio.CapacityLimiter(_PROCESSES)
    return Starlette(
        routes=[
            Route(
                f"/git/{{owner}}/{REPOSITORY}/{service}",
                GitService(service, root.absolute(), allow_push, program, turns),
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
    program: CgiProgram
    turns: anyio.CapacityLimiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = scope["path_params"]["owner"]
        if not _is_owner(owner):
            await PlainTextResponse("no such owner\n", 404)(scope, receive, send)
            return
        async with self.turns:
            await self.program.answer(self._variables(owner, scope), scope, receive, send)

    def _variables(self, owner: str, scope: Scope) -> dict[str, str]:
        headers = {
            variable: value.decode("latin-1")
            for name, value in scope["headers"]
            if (variable := _PASSED_ON.get(name)) is not None
        }
        return {
            **git_environment(),
            **headers,
            **self._configuration(),
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{owner}/{REPOSITORY}/{self.service}",
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "REQUEST_METHOD": scope["method"],
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        }

    def _configuration(self) -> dict[str, str]:
        """Settings for this one request, which no file of the repository overrides."""
        settings = {
            "http.receivepack": "true" if self.allow_push else "false",
            "http.getanyfile": "false",  # the smart protocol only: the other one hands out files
            "receive.autogc": "false",  # it would stay behind when the request is over
            "safe.directory": "*",  # whoever serves a hub need not be who wrote it; no other repository is opened
        }
        pairs = [
            (f"GIT_CONFIG_{part}_{n}", text)
            for n, setting in enumerate(settings.items())
            for part, text in zip(("KEY", "VALUE"), setting, strict=True)
        ]
        return {"GIT_CONFIG_COUNT": str(len(settings)), **dict(pairs)}


def _is_owner(text: str) -> bool:
    try:
        EnvironmentName(text, "any")
    except EnvironmentRefInvalid:
        return False
    return True

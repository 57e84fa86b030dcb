"""A local FloxHub over HTTP: git's own http-backend, run for each request below `/git`.

Belongs here: what HTTP asks and CGI wants, and ending the process with the request. What is in the repositories is
`local.py`'s. Source: FH §1.7; `git help http-backend`. An address of this server works as an on-prem base URL.
"""

import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from registry_proxy.floxhub.local import REPOSITORY
from registry_proxy.floxhub.local_repository import git_environment

_PROCESSES = 32
_DEADLINE_S = 600.0
_PATIENCE_S = 2.0
_MAX_BODY_BYTES = 256 * 1024 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_SERVICES = {"info/refs": "GET", "git-upload-pack": "POST", "git-receive-pack": "POST"}


class _BadRequest(Exception):
    """The client sent more than is read."""


class _BadBackend(Exception):
    """Git's http-backend did not answer as CGI says."""


def serve_hub_app(root: Path, *, allow_push: bool = False) -> Starlette:
    """The hub below `root`, readable by anyone; with `allow_push` anyone can write to it too."""
    backend = HttpBackend(root.absolute(), allow_push=allow_push)
    return Starlette(
        routes=[
            Route(f"/git/{{owner}}/{REPOSITORY}/{service}", backend.serving(service), methods=[method])
            for service, method in _SERVICES.items()
        ]
    )

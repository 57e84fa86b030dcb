"""`floxbridge hub`: a FloxHub of one's own from the command line.

Belongs here: files, words for people and for scripts. Arguments are in `arguments.py`; what the commands do is in
`local.py` and `server.py`.
Exit codes: 0, 1 (failed, with one sentence on stderr), 2 (usage).
"""

import argparse
import asyncio
import getpass
import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

import uvicorn

from flox_formats import lockfile
from flox_formats.history import Change
from registry_proxy.hub import local
from registry_proxy.hub.privacy import Visibility
from registry_proxy.hub.repository import HubError
from registry_proxy.hub.server import serve_hub_app
from registry_proxy.hub.tokens import HubTokens, HubTokensInvalid

_SHUTDOWN_S = 5


def run_hub(arguments: argparse.Namespace) -> int:
    """Does what `hub` was told; gives the exit code."""
    try:
        match arguments.hub_command:
            case "init":
                local.init(arguments.root)
                if arguments.json:
                    print(json.dumps({"root": str(arguments.root.absolute())}))
            case "push":
                _say_live(arguments, _push(arguments))
            case "switch":
                _say_live(arguments, _switch(arguments))
            case "visibility":
                _visibility(arguments)
            case "list":
                _list(arguments.root, as_json=arguments.json)
            case _:
                _serve(arguments)
    except (HubError, HubTokensInvalid) as problem:
        _complain(str(problem))
        return 1
    return 0


def _complain(sentence: str) -> None:
    print(f"floxbridge hub: {sentence}", file=sys.stderr, flush=True)


def _push(arguments: argparse.Namespace) -> int:
    manifest = None if arguments.manifest is None else _file(arguments.manifest)
    lock = _file(arguments.lock)
    return local.push(
        arguments.root, arguments.environment, manifest, lock, change=_change(arguments), private=arguments.private
    )


def _switch(arguments: argparse.Namespace) -> int:
    return local.switch(arguments.root, arguments.environment, arguments.generation, change=_change(arguments))


def _say_live(arguments: argparse.Namespace, generation: int) -> None:
    if arguments.json:
        print(json.dumps({"environment": str(arguments.environment), "generation": generation, "live": True}))
    else:
        print(f"{arguments.environment}: generation {generation} is live")


def _visibility(arguments: argparse.Namespace) -> None:
    local.set_visibility(arguments.root, arguments.environment, Visibility(arguments.visibility))
    if arguments.json:
        print(json.dumps({"environment": str(arguments.environment), "visibility": arguments.visibility}))
    else:
        print(f"{arguments.environment}: {arguments.visibility}")


def _list(root: Path, *, as_json: bool) -> None:
    found = local.environments(root)
    if as_json:
        print(json.dumps([_as_json(each) for each in found], indent=2))
        return
    for each in found:
        private = "  private" if each.visibility is Visibility.PRIVATE else ""
        if each.generations is None:
            print(f"{each.environment}  {each.problem}{private}")
        else:
            live = each.generations.live
            print(f"{each.environment}  live {live or 'none'}  of {len(each.generations.generations)}{private}")


def _as_json(each: local.HubEnvironment) -> dict[str, object]:
    about = {"environment": str(each.environment), "visibility": str(each.visibility)}
    if each.generations is None:
        return {**about, "problem": each.problem}
    generations = [
        {"number": one.number, "parent": one.parent, "created": one.created, "description": one.description}
        for one in each.generations.generations.values()
    ]
    return {**about, "live": each.generations.live, "generations": generations}


def _serve(arguments: argparse.Namespace) -> None:
    host, port = arguments.listen
    if not arguments.root.is_dir():
        raise local.HubRefused(
            f"no hub at {arguments.root}; make one with: floxbridge hub init --root {arguments.root}"
        )
    tokens = None if arguments.tokens is None else HubTokens(arguments.tokens, problem=_complain)
    app = serve_hub_app(arguments.root, allow_push=arguments.allow_push, tokens=tokens)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_SHUTDOWN_S
    )
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as problem:
        raise HubError(f"cannot listen on {host}:{port}: {problem.strerror}") from problem
    with listener:
        # uvicorn stops for a signal and then raises it once more, for whoever had it before: us.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        said = json.dumps({"url": url}) if arguments.json else url
        asyncio.run(_Server(config, said).serve(sockets=[listener]))


class _Server(uvicorn.Server):
    """Says where it is once it can be stopped: whoever waits for that may do so at once."""

    def __init__(self, config: uvicorn.Config, said: str) -> None:
        super().__init__(config)
        self._said = said

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._said, flush=True)


def _leave(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _change(arguments: argparse.Namespace) -> Change:
    command = ("floxbridge", "hub", arguments.hub_command, str(arguments.environment))
    return Change(_user(), socket.gethostname(), command, int(time.time()))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return "unknown"


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(lockfile.MAX_BYTES + 1)
    except OSError as problem:
        raise local.HubRefused(f"cannot read {path}: {problem.strerror}") from problem
    if len(data) > lockfile.MAX_BYTES:
        raise local.HubRefused(f"{path} is larger than the {lockfile.MAX_BYTES} bytes that are read")
    return data

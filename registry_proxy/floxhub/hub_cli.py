"""`floxbridge hub`: a FloxHub of one's own from the command line.

Belongs here: arguments, files, words for people. What the commands do is in `local.py` and `local_server.py`.
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
from flox_formats.environment import MAX_GENERATION, EnvironmentName, EnvironmentRefInvalid
from flox_formats.history import Change
from registry_proxy.floxhub import local
from registry_proxy.floxhub.hub_tokens import HubTokens, HubTokensInvalid
from registry_proxy.floxhub.local_repository import HubError
from registry_proxy.floxhub.local_server import serve_hub_app
from registry_proxy.floxhub.privacy import Visibility

_SHUTDOWN_S = 5


def add_hub_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `hub` and what is below it to the `floxbridge` command."""
    hub = commands.add_parser("hub", help="a FloxHub of one's own: git repositories in FloxHub's layout")
    below = hub.add_subparsers(dest="hub_command", required=True, metavar="COMMAND")

    _add(below, "init", "make an empty hub")

    push = _add(below, "push", "make a new generation, live from now on")
    push.add_argument("environment", type=_environment, metavar="OWNER/NAME")
    push.add_argument("--lock", type=Path, required=True, metavar="FILE", help="the environment's manifest.lock")
    push.add_argument("--manifest", type=Path, metavar="FILE", help="its manifest.toml, which Flox needs to edit it")
    push.add_argument("--private", action="store_true", help="show it to tokens with the right only, from now on")

    switch = _add(below, "switch", "make another generation the live one")
    switch.add_argument("environment", type=_environment, metavar="OWNER/NAME")
    switch.add_argument("generation", type=_generation, metavar="N")

    visibility = _add(below, "visibility", "make an environment private or public")
    visibility.add_argument("environment", type=_environment, metavar="OWNER/NAME")
    visibility.add_argument("visibility", choices=[str(one) for one in Visibility])

    listing = _add(below, "list", "what the hub holds")
    listing.add_argument("--json", action="store_true", help="for a script")

    serve = _add(below, "serve", "serve the hub over git's smart HTTP until SIGTERM or ctrl-C")
    serve.add_argument(
        "--listen",
        type=_address,
        default=("127.0.0.1", 8070),
        metavar="HOST:PORT",
        help="default 127.0.0.1:8070; port 0: any",
    )
    serve.add_argument("--allow-push", action="store_true", help="let who can reach it push with git or flox")
    serve.add_argument(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="who sees what is private; a line each: TOKEN HANDLE [OWNER/NAME | OWNER/*]... [expires=TIME]. "
        "Read again when it changes. Without it, nobody does",
    )


def run_hub(arguments: argparse.Namespace) -> int:
    """Does what `hub` was told; gives the exit code."""
    try:
        match arguments.hub_command:
            case "init":
                local.init(arguments.root)
            case "push":
                _push(arguments)
            case "switch":
                number = local.switch(
                    arguments.root, arguments.environment, arguments.generation, change=_change(arguments)
                )
                print(f"{arguments.environment}: generation {number} is live")
            case "visibility":
                local.set_visibility(arguments.root, arguments.environment, Visibility(arguments.visibility))
                print(f"{arguments.environment}: {arguments.visibility}")
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


def _add(
    below: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    command = below.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    command.add_argument("--root", type=Path, required=True, metavar="DIR", help="the folder of the hub")
    return command


def _push(arguments: argparse.Namespace) -> None:
    manifest = None if arguments.manifest is None else _file(arguments.manifest)
    lock = _file(arguments.lock)
    number = local.push(
        arguments.root, arguments.environment, manifest, lock, change=_change(arguments), private=arguments.private
    )
    print(f"{arguments.environment}: generation {number} is live")


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
        print(f"http://{shown}:{listener.getsockname()[1]}", flush=True)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


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


def _environment(text: str) -> EnvironmentName:
    try:
        return EnvironmentName.parse(text)
    except EnvironmentRefInvalid as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def _generation(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and 0 < int(text) <= MAX_GENERATION):
        raise argparse.ArgumentTypeError(f"want a generation number from 1 to {MAX_GENERATION}, got {text[:30]!r}")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"want HOST:PORT, got {text[:100]!r}")
    return host, int(port)

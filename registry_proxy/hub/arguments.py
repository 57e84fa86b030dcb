"""The flags of `floxbridge hub`, and its help.

Belongs here: what can be said to it. What is then done is in `cli.py`.
"""

import argparse
from pathlib import Path
from typing import TypedDict

from flox_formats.environment import MAX_GENERATION, EnvironmentName, EnvironmentRefInvalid
from registry_proxy.hub.privacy import Visibility

_ABOUT = """\
A FloxHub of one's own: environments in bare git repositories, one for each owner, in FloxHub's layout. Flox, git and
the registry read them alike. `floxbridge serve --hub-dir DIR` serves such a folder and asks it.
"""
_EXAMPLES = """\
examples:
  floxbridge hub push acme/web --root hub --lock .flox/env/manifest.lock    generation 1, then 2, and so on
  floxbridge hub list --root hub
  floxbridge hub switch acme/web 1 --root hub                               roll back
  floxbridge serve --hub-dir hub                                            a registry on it
"""
_INIT_EXAMPLE = """\
example:
  floxbridge hub init --root hub
"""
_PUSH_EXAMPLES = """\
examples:
  floxbridge hub push acme/web --root hub --lock .flox/env/manifest.lock --manifest .flox/env/manifest.toml
  floxbridge hub push acme/secret --private --root hub --lock manifest.lock
  floxbridge hub push acme/web --root hub --lock manifest.lock --json | jq .generation
"""
_SWITCH_EXAMPLE = """\
example:
  floxbridge hub switch acme/web 12 --root hub
"""
_VISIBILITY_EXAMPLES = """\
examples:
  floxbridge hub visibility acme/web private --root hub
  floxbridge hub visibility acme/web public --root hub
"""
_LIST_EXAMPLES = """\
examples:
  floxbridge hub list --root hub
  floxbridge hub list --root hub --json | jq '.[] | select(.live == null)'
"""
_SERVE_EXAMPLES = """\
examples:
  floxbridge hub serve --root hub
  floxbridge hub serve --root hub --listen 0.0.0.0:8070 --tokens tokens
  FLOX_FLOXHUB_URL=http://127.0.0.1:8070 flox pull acme/web    in another shell
"""


class _Help(TypedDict):
    description: str
    epilog: str
    formatter_class: type[argparse.HelpFormatter]


def add_hub_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `hub` and what is below it to the `floxbridge` command."""
    about = "a FloxHub of one's own: git repositories in FloxHub's layout"
    hub = commands.add_parser("hub", help=about, **_help(_ABOUT, _EXAMPLES))
    below = hub.add_subparsers(dest="hub_command", required=True, metavar="COMMAND")
    _add(below, "init", "make an empty hub", _INIT_EXAMPLE)
    _add_push(below)
    _add_changes(below)
    _add(below, "list", "what the hub holds", _LIST_EXAMPLES)
    _add_serve(below)


def _add_push(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    push = _add(below, "push", "make a new generation, live from now on", _PUSH_EXAMPLES)
    push.add_argument("environment", type=_environment, metavar="OWNER/NAME")
    push.add_argument("--lock", type=Path, required=True, metavar="FILE", help="the environment's manifest.lock")
    push.add_argument("--manifest", type=Path, metavar="FILE", help="its manifest.toml, which Flox needs to edit it")
    push.add_argument("--private", action="store_true", help="show it to tokens with the right only, from now on")


def _add_changes(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    switch = _add(below, "switch", "make another generation the live one", _SWITCH_EXAMPLE)
    switch.add_argument("environment", type=_environment, metavar="OWNER/NAME")
    switch.add_argument("generation", type=_generation, metavar="N")
    visibility = _add(below, "visibility", "make an environment private or public", _VISIBILITY_EXAMPLES)
    visibility.add_argument("environment", type=_environment, metavar="OWNER/NAME")
    visibility.add_argument("visibility", choices=[str(one) for one in Visibility])


def _add_serve(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = _add(below, "serve", "serve the hub over git's smart HTTP until SIGTERM or ctrl-C", _SERVE_EXAMPLES)
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


def _add(
    below: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str, examples: str
) -> argparse.ArgumentParser:
    command = below.add_parser(name, help=about, **_help(about[0].upper() + about[1:] + ".", examples))
    command.add_argument("--root", type=Path, required=True, metavar="DIR", help="the folder of the hub")
    command.add_argument("--json", action="store_true", help="print JSON")
    return command


def _help(about: str, examples: str) -> _Help:
    return {"description": about, "epilog": examples, "formatter_class": argparse.RawDescriptionHelpFormatter}


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

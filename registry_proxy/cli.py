"""`floxbridge`: the command line of the registry's half. Exit codes: 0, 1 failed, 2 usage.

Belongs here: commands, their flags, and how errors end them. The only place that reads the process's environment.
"""

import argparse
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import uvloop
import yaml

from flox_formats.errors import FormatError
from flox_formats.settings import SettingsInvalid, read_settings
from registry_proxy.errors import RegistryError
from registry_proxy.floxhub.hub_cli import add_hub_commands, run_hub
from registry_proxy.log import Log, LoggingHandler
from registry_proxy.resolve_cli import resolve
from registry_proxy.server import serve
from registry_proxy.settings import PREFIX, Settings

_NODE_PREFIX = "FLOXBRIDGE_NODE_"
_TEST_VARIABLES = ("FLOXBRIDGE_TEST_ALL",)


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.command != "demo":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _run(arguments, rest)
    except SettingsInvalid as error:
        return _say(error, 2)
    except (RegistryError, FormatError) as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace, rest: list[str]) -> int:
    if arguments.command == "hub":
        return run_hub(arguments)
    if arguments.command == "demo":
        from floxbridge_demo.story import run_demo

        return run_demo(rest)
    settings = _settings(arguments)
    if arguments.command == "resolve":
        return _in_loop(resolve(arguments, settings))
    return _in_loop(_serve(settings))


async def _serve(settings: Settings) -> int:
    # uvicorn stops for a signal and then raises it once more, for whoever had it before: us.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    log = Log()
    logging.basicConfig(handlers=[LoggingHandler(log)], level=logging.WARNING)
    await serve(settings, log)
    return 0


def _leave(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _in_loop(work: Coroutine[Any, Any, int]) -> int:
    return uvloop.run(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="floxbridge",
        description="An image digest for every generation of every FloxHub environment.",
        epilog="The node's half is the command floxbridge-node.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="run the registry", description="Runs the registry until SIGTERM.")
    _add_settings(serving, [field.name for field in dataclasses.fields(Settings)])
    resolving = commands.add_parser(
        "resolve",
        help="which generation and digest a reference means now",
        description="Asks FloxHub itself, as the registry would, and keeps nothing.",
    )
    resolving.add_argument("ref", metavar="REF", help="owner/name for the live generation, or owner/name:N")
    resolving.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(
        resolving, ["floxhub_url", "floxhub_git_url", "floxhub_token_file", "lookup_timeout_s", "connect_timeout_s"]
    )
    add_hub_commands(commands)
    commands.add_parser("demo", help="run it all on this machine", add_help=False)
    return parser


def _add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of these settings")
    for field in dataclasses.fields(Settings):
        if field.name in names:
            repeatable = isinstance(field.default, tuple) and field.name != "listen"
            default = " ".join(field.default) if isinstance(field.default, tuple) and repeatable else field.default
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                action="append" if repeatable else "store",
                metavar="VALUE",
                help=f"{field.metadata['about']} (default: {default})".replace("%", "%%"),
            )


def _settings(arguments: argparse.Namespace) -> Settings:
    ours = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and not name.startswith(_NODE_PREFIX) and name not in _TEST_VARIABLES
    }
    return read_settings(
        Settings, flags=vars(arguments), variables=ours, prefix=PREFIX, file=_config_file(arguments.config)
    )


def _config_file(path: str | None) -> Mapping[str, object]:
    if path is None:
        return {}
    try:
        document = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"configuration file {path}: {error}") from error
    if not isinstance(document or {}, dict):
        raise SettingsInvalid(f"configuration file {path}: want a mapping of settings")
    return document or {}


def _say(error: Exception, code: int) -> int:
    print(f"floxbridge: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

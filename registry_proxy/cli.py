"""`floxbridge`: the command line of the registry's half. Exit codes: 0, 1 failed, 2 usage.

Belongs here: which commands there are, and how errors end them. Each has a module of its own; what they share of flags
is in `settings_cli.py`.
"""

import argparse
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn

import shtab
import uvloop

from flox_formats.completion import SHELLS, completion_script
from flox_formats.errors import FormatError
from flox_formats.settings import SettingsInvalid
from flox_formats.settings_command import add_settings
from registry_proxy.errors import RegistryError
from registry_proxy.explain_cli import add_explain_command, explain
from registry_proxy.hub.arguments import add_hub_commands
from registry_proxy.hub.cli import run_hub
from registry_proxy.log import Log, LoggingHandler
from registry_proxy.resolve_cli import add_resolve_command, resolve
from registry_proxy.server import serve
from registry_proxy.settings import Settings
from registry_proxy.settings_cli import add_config_command, settings_of, show_config
from registry_proxy.stopping import stop_on_signals

_COMPLETION_EXAMPLES = """\
examples:
  source <(floxbridge completion bash)                                    # this shell
  floxbridge completion bash > /etc/bash_completion.d/floxbridge          # every bash
  floxbridge completion zsh > "${fpath[1]}/_floxbridge"
  floxbridge completion fish > ~/.config/fish/completions/floxbridge.fish
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.command != "demo":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _run(parser, arguments, rest)
    except SettingsInvalid as error:
        return _say(error, 2)
    except (RegistryError, FormatError) as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has gone: nothing more to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def build_parser(*, demo: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The flags of `demo` are only told where they are shown: the command reads them itself."""
    parser = argparse.ArgumentParser(
        prog="floxbridge",
        description="An image digest for every generation of every FloxHub environment.",
        epilog="The node's half is the command floxbridge-node.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="run the registry", description="Runs the registry until SIGTERM.")
    add_settings(serving, Settings)
    add_resolve_command(commands)
    add_explain_command(commands)
    add_config_command(commands)
    add_hub_commands(commands)
    flags = [] if demo is None else [demo]
    commands.add_parser("demo", help="run it all on this machine", add_help=False, parents=flags)
    completion = commands.add_parser(
        "completion",
        help="a script that makes a shell complete these commands",
        description="Prints a completion script.",
        epilog=_COMPLETION_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", choices=SHELLS)
    return parser


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace, rest: list[str]) -> int:
    match arguments.command:
        case "hub":
            return run_hub(arguments)
        case "config":
            return show_config(arguments)
        case "completion":
            from floxbridge_demo.story import demo_parser

            print(completion_script(build_parser(demo=demo_parser()), arguments.shell, shtab.complete))
            return 0
        case "demo":
            from floxbridge_demo.story import run_demo

            return run_demo(rest)
        case "resolve":
            return _in_loop(resolve(arguments, settings_of(arguments)))
        case "explain":
            return _in_loop(explain(arguments, settings_of(arguments)))
        case _:
            return _in_loop(_serve(settings_of(arguments)))


async def _serve(settings: Settings) -> NoReturn:
    """Ends the process, without Python's wait for threads: one may hang on a FloxHub that is silent for a minute, with
    nothing to lose, since the state directory is good at any moment."""
    log = Log()
    logging.basicConfig(handlers=[LoggingHandler(log)], level=logging.WARNING)
    logging.getLogger("dulwich").setLevel(logging.ERROR)  # a warning for each word of FloxHub's that it does not know
    await serve(settings, log, stop_on_signals())
    os._exit(0)


def _in_loop(work: Coroutine[Any, Any, int]) -> int:
    return uvloop.run(work)


def _say(error: Exception, code: int) -> int:
    print(f"floxbridge: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

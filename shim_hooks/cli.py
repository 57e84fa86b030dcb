"""`floxbridge-node`: the command line of the node's half. Exit codes: 0, 1 failed, 2 usage.

Belongs here: commands, their flags, and how errors end them. The only place that reads the process's environment.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from flox_formats.environment import EnvironmentRef
from flox_formats.errors import FormatError
from flox_formats.settings import SettingsInvalid, read_settings, seconds
from shim_hooks.errors import NodeError
from shim_hooks.launcher.build import build_launcher
from shim_hooks.settings import PREFIX, Settings

_REPEATABLE = ("trusted_key",)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except SettingsInvalid as error:
        return _say(error, 2)
    except (NodeError, FormatError) as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "build-launcher":
        build_launcher(arguments.output, compiler=arguments.compiler)
        print(arguments.output)
        return 0
    settings = _settings(arguments)
    # Late: the compiler's call above, and a mistake in the settings, need little of the house.
    from shim_hooks.commands import realise, run_agent, show_status

    match arguments.command:
        case "agent":
            return run_agent(settings)
        case "realise":
            ref = EnvironmentRef.parse(arguments.ref)
            return realise(settings, ref, deadline_s=arguments.deadline_s, as_json=arguments.json)
        case _:
            return show_status(settings, as_json=arguments.json)


def _say(error: Exception, code: int) -> int:
    print(f"floxbridge-node: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="floxbridge-node",
        description="Puts containers into FloxHub environments: the node's half of floxbridge.",
        epilog="The registry's half is the command floxbridge.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    every = [field.name for field in dataclasses.fields(Settings)]
    agent = commands.add_parser(
        "agent", help="run the agent that the launcher asks", description="Runs the agent until SIGTERM."
    )
    _add_settings(agent, every)
    _add_realise(commands)
    status = commands.add_parser(
        "status", help="what is in the node's store, and who uses it", description="Reads the store; asks nobody."
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(status, ["state_dir", "socket"])
    building = commands.add_parser(
        "build-launcher",
        help="compile the launcher that stands in runc's seat",
        description="Compiles the launcher: one static program, which needs a C compiler now and nothing later.",
    )
    building.add_argument("--output", type=Path, required=True, metavar="PATH", help="where to put it")
    building.add_argument("--compiler", default="cc", metavar="CC", help="the C compiler (default: cc)")
    return parser


def _add_realise(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "realise",
        help="put an environment into the node's store",
        description="Fetches what is missing of an environment, links it, and prints where it is.",
    )
    parser.add_argument("ref", metavar="REF", help="owner/name for the live generation, or owner/name:N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--deadline-s", type=seconds, default=3600.0, metavar="SECONDS", help="how long it may take (default: 3600)"
    )
    _add_settings(parser, ["registry_url", "state_dir", "trusted_key", "connect_timeout_s", "lookup_timeout_s"])


def _add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML file with any settings of floxbridge-node")
    for field in dataclasses.fields(Settings):
        if field.name in names:
            repeatable = field.name in _REPEATABLE
            default = " ".join(field.default) if repeatable else field.default  # type: ignore[arg-type]
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                action="append" if repeatable else "store",
                metavar="VALUE",
                help=f"{field.metadata['about']} (default: {default})".replace("%", "%%"),
            )


def _settings(arguments: argparse.Namespace) -> Settings:
    return read_settings(
        Settings, flags=vars(arguments), variables=os.environ, prefix=PREFIX, file=_config_file(arguments.config)
    )


def _config_file(path: str | None) -> Mapping[str, object]:
    if path is None:
        return {}
    import yaml  # late: an agent without a file does without it

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"configuration file {path}: {error}") from error
    if document is not None and not isinstance(document, dict):
        raise SettingsInvalid(f"configuration file {path}: want keys and values, got {type(document).__name__}")
    return document or {}


if __name__ == "__main__":
    sys.exit(main())

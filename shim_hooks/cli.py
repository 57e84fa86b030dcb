"""`floxbridge-node`: the command line of the node's half. Exit codes: 0, 1 failed, 2 usage.

Belongs here: commands, their flags, and how errors end them. The only place that reads the process's environment.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from flox_formats.completion import SHELLS, completion_script
from flox_formats.environment import EnvironmentRef, EnvironmentRefInvalid
from flox_formats.errors import FormatError
from flox_formats.settings import Given, SettingsInvalid, count, effective, seconds
from flox_formats.settings_command import add_settings, as_json, as_text
from shim_hooks.doctor.arguments import add_doctor_arguments
from shim_hooks.errors import NodeError
from shim_hooks.launcher.build import build_launcher
from shim_hooks.settings import PREFIX, Settings


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        return _run(parser, arguments)
    except SettingsInvalid as error:
        return _say(error, 2)
    except (NodeError, FormatError) as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return 130


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if arguments.command == "build-launcher":
        build_launcher(arguments.output, compiler=arguments.compiler)
        print(arguments.output)
        return 0
    if arguments.command == "completion":
        import shtab  # late: an agent does without it

        print(completion_script(parser, arguments.shell, shtab.complete))
        return 0
    given = _given(arguments)
    if arguments.command == "config":
        print(as_json(given) if arguments.json else as_text(given, arguments.config))
        return 0
    settings = Settings(**{one.name: one.value for one in given})
    # Late: the compiler's call above, and a mistake in the settings, need little of the house.
    if arguments.command == "agent":
        from shim_hooks.agent_start import start_agent

        return start_agent(settings, take_over=arguments.take_over)
    from shim_hooks.commands.progress_line import Way
    from shim_hooks.commands.realise import realise
    from shim_hooks.commands.store import collect, show_status
    from shim_hooks.commands.token_file import read_token
    from shim_hooks.commands.verify import verify_store

    match arguments.command:
        case "doctor":
            from shim_hooks.doctor.examination import Node, run

            path = os.environ.get("PATH", os.defpath)
            return run(Node(settings, arguments.launcher, arguments.containerd_config, path), json=arguments.json)
        case "realise":
            return realise(
                settings,
                arguments.ref,
                read_token(arguments.token_file),
                deadline_s=arguments.deadline_s,
                progress=Way.of(sys.stderr, os.environ.get("TERM", "dumb"), as_json=arguments.json),
                as_json=arguments.json,
            )
        case "gc":
            wanted = arguments.max_bytes
            return collect(settings, max_bytes=wanted, dry_run=arguments.dry_run, as_json=arguments.json)
        case "verify":
            if arguments.token_file is not None and not arguments.repair:
                parser.error("--token-file is for what --repair fetches")
            token = read_token(arguments.token_file)
            return verify_store(settings, token, repair=arguments.repair, as_json=arguments.json)
        case _:
            return show_status(settings, as_json=arguments.json)


def _say(error: Exception, code: int) -> int:
    print(f"floxbridge-node: {error}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="floxbridge-node",
        description="Puts containers into FloxHub environments: the node's half of floxbridge.",
        epilog="The registry's half is the command floxbridge.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    agent = commands.add_parser(
        "agent", help="run the agent that the launcher asks", description="Runs the agent until SIGTERM."
    )
    agent.add_argument(
        "--take-over",
        action="store_true",
        help="take the socket from an agent that runs; that one ends what it has begun, and stops",
    )
    add_settings(agent, Settings)
    _add_realise(commands)
    status = commands.add_parser(
        "status",
        help="what is in the node's store, and who uses it",
        description="Reads the store, and asks the agent what it is fetching.",
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    add_settings(status, Settings, ["state_dir", "socket"])
    _add_store_care(commands)
    doctor = commands.add_parser(
        "doctor",
        help="what is wrong on this node, and the line that mends it",
        description="Looks at all that a Flox container needs on this node, and changes nothing. Exit code 1: bad.",
    )
    add_doctor_arguments(doctor)
    add_settings(doctor, Settings)
    config = commands.add_parser(
        "config",
        help="the effective configuration, and where each value comes from",
        description="Prints what `floxbridge-node agent` would run with if it were given the same flags, here and now.",
    )
    config.add_argument("--json", action="store_true", help="print JSON")
    add_settings(config, Settings)
    completion = commands.add_parser(
        "completion",
        help="a script that makes a shell complete these commands",
        description="Prints a completion script; in bash: source <(floxbridge-node completion bash)",
    )
    completion.add_argument("shell", choices=SHELLS)
    building = commands.add_parser(
        "build-launcher",
        help="compile the launcher that stands in runc's seat",
        description="Compiles the launcher: one static program, which needs a C compiler now and nothing later.",
    )
    building.add_argument("--output", type=Path, required=True, metavar="PATH", help="where to put it")
    building.add_argument("--compiler", metavar="CC", help="the C compiler (default: musl-gcc if installed, else cc)")
    return parser


def _add_realise(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "realise",
        help="put an environment into the node's store",
        description="Fetches what is missing of an environment, links it, and prints where it is.",
    )
    parser.add_argument("ref", type=_ref, metavar="REF", help="owner/name for the live generation, or owner/name:N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--deadline-s", type=seconds, default=3600.0, metavar="SECONDS", help="how long it may take (default: 3600)"
    )
    _add_token_file(parser)
    add_settings(
        parser,
        Settings,
        ["registry_url", "state_dir", "trusted_key", "public_key", "connect_timeout_s", "lookup_timeout_s"],
    )


def _ref(text: str) -> EnvironmentRef:
    try:
        return EnvironmentRef.parse(text)
    except EnvironmentRefInvalid as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def _add_token_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with a FloxHub token, for a private environment; - is standard input",
    )


def _add_store_care(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    collecting = commands.add_parser(
        "gc",
        help="take away what nobody uses, the least recently used first",
        description="Takes away what no container uses until the store keeps its bound. The agent does so by itself.",
    )
    collecting.add_argument(
        "--max-bytes", type=count, metavar="BYTES", help="the size to come down to (default: what the settings allow)"
    )
    collecting.add_argument("--dry-run", action="store_true", help="only say what would go")
    collecting.add_argument("--json", action="store_true", help="print JSON")
    add_settings(collecting, Settings, ["state_dir", "store_max_bytes", "store_min_free_percent"])
    verifying = commands.add_parser(
        "verify",
        help="compare what is in the store with what was promised",
        description="Hashes every store path anew and plans every linked environment anew. "
        "Exit code 1 if something is broken and stays so.",
    )
    verifying.add_argument("--repair", action="store_true", help="fetch, and link, what is broken anew")
    _add_token_file(verifying)
    verifying.add_argument("--json", action="store_true", help="print JSON")
    add_settings(verifying, Settings, ["registry_url", "state_dir", "connect_timeout_s", "lookup_timeout_s"])


def _given(arguments: argparse.Namespace) -> tuple[Given, ...]:
    return effective(Settings, vars(arguments), os.environ, PREFIX, _config_file(arguments.config))


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

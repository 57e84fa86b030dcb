"""Completion in real shells: every command and every flag of both programs, and values of each kind."""

import argparse
from collections.abc import Iterator

import pytest

from floxbridge_demo.story import demo_parser
from registry_proxy import cli as registry
from shim_hooks import cli as node
from tests.conftest import needs
from tests.interop.shells import Bash, Fish, Shell, Zsh

SHELLS: dict[str, type[Bash] | type[Zsh] | type[Fish]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    needs(request.param)
    home = tmp_path_factory.mktemp("home")
    (home / "settings.yaml").touch()
    (home / "state").mkdir()
    with SHELLS[request.param](home) as running:
        yield running
        assert running.complaints == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        pytest.param("floxbridge exp", {"explain"}, id="command"),
        pytest.param("floxbridge-node rea", {"realise"}, id="command-of-the-node"),
        pytest.param("floxbridge hub s", {"serve", "switch"}, id="command-below"),
        pytest.param("floxbridge serve --resolve", {"--resolve-ttl-s"}, id="flag"),
        pytest.param("floxbridge serve --listen 127.0.0.1:5000 --stat", {"--state-dir"}, id="flag-behind-a-value"),
        pytest.param("floxbridge hub push --root state --priv", {"--private"}, id="flag-of-a-command-below"),
        pytest.param("floxbridge serve --nix-cache a --nix", {"--nix-cache"}, id="flag-that-is-repeatable"),
        pytest.param("floxbridge serve --offline --listen", {"--listen"}, id="flag-behind-a-switch-alone"),
        pytest.param("floxbridge serve --offline ", {"true", "false"}, id="switch"),
        pytest.param("floxbridge serve --offline=t", {"true"}, id="switch-behind-an-equals-sign"),
        pytest.param("floxbridge completion z", {"zsh"}, id="choice"),
        pytest.param("floxbridge hub visibility acme/web p", {"public", "private"}, id="second-argument"),
        pytest.param("floxbridge serve --config s", {"settings.yaml", "state"}, id="file"),
        pytest.param("floxbridge serve --config=se", {"settings.yaml"}, id="file-behind-an-equals-sign"),
        pytest.param("floxbridge serve --state-dir s", {"state"}, id="folder"),
        pytest.param("floxbridge serve --state-dir=s", {"state"}, id="folder-behind-an-equals-sign"),
        pytest.param("floxbridge-node verify --token-file se", {"settings.yaml"}, id="file-of-the-node"),
        pytest.param("floxbridge serve --listen ", set(), id="value-that-only-you-know"),
        pytest.param("floxbridge resolve ", set(), id="environment-that-only-you-know"),
    ],
)
def test_offers(shell: Shell, line: str, offered: set[str]) -> None:
    assert shell.offers(line) == offered


@pytest.mark.parametrize(
    "parser",
    [
        pytest.param(registry.build_parser(demo=demo_parser()), id="registry"),
        pytest.param(node.build_parser(), id="node"),
    ],
)
def test_every_command_and_every_flag_is_offered(shell: Shell, parser: argparse.ArgumentParser) -> None:
    wanted = dict(commands_and_flags(parser, parser.prog))
    assert len(wanted) > 10
    assert {line: shell.offers(line) for line in wanted} == wanted


def commands_and_flags(parser: argparse.ArgumentParser, line: str) -> Iterator[tuple[str, set[str]]]:
    """For each command: what its parser takes behind it, and behind `--`."""
    yield f"{line} --", {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield f"{line} ", set(action.choices)
            for name, command in action.choices.items():
                yield from commands_and_flags(command, f"{line} {name}")

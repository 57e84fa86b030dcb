"""Settings of a command: from its flags, the process's environment and the file; and `floxbridge config`, which shows
them. The only place that reads the environment.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from flox_formats.settings import Given, SettingsInvalid, effective
from flox_formats.settings_command import add_settings, as_json, as_text
from registry_proxy.settings import PREFIX, Settings

_NODE_PREFIX = "FLOXBRIDGE_NODE_"
_TEST_VARIABLES = ("FLOXBRIDGE_TEST_ALL",)


def add_config_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    config = commands.add_parser(
        "config",
        help="the effective configuration, and where each value comes from",
        description="Prints what `floxbridge serve` would run with if it were given the same flags, here and now.",
        epilog="A flag beats a variable, a variable beats the file, the file beats the default. Secrets are masked.",
    )
    config.add_argument("--json", action="store_true", help="print JSON")
    add_settings(config, Settings)


def show_config(arguments: argparse.Namespace) -> int:
    """Raises SettingsInvalid, as every command would."""
    found = given(arguments)
    shown = _in_force(found, _settings(found))
    print(as_json(shown) if arguments.json else as_text(shown, arguments.config))
    return 0


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Raises SettingsInvalid."""
    return _settings(given(arguments))


def _settings(found: Sequence[Given]) -> Settings:
    return Settings(**{one.name: one.value for one in found})


def _in_force(found: Sequence[Given], settings: Settings) -> tuple[Given, ...]:
    """With what follows from other settings. Where an embedded hub is asked follows from the port, which may be any."""
    derived = {"floxhub_url": settings.floxhub_base_url}
    if settings.hub_dir is None:
        derived["floxhub_git_url"] = settings.floxhub_urls(None).git
    return tuple(replace(one, value=derived.get(one.name, one.value)) for one in found)


def given(arguments: argparse.Namespace) -> tuple[Given, ...]:
    """Raises SettingsInvalid."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and not name.startswith(_NODE_PREFIX) and name not in _TEST_VARIABLES
    }
    return effective(Settings, vars(arguments), ours, PREFIX, _config_file(arguments.config))


def _config_file(path: str | None) -> Mapping[str, object]:
    if path is None:
        return {}
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"configuration file {path}: {error}") from error
    if document is not None and not isinstance(document, dict):
        raise SettingsInvalid(f"configuration file {path}: want keys and values, got {type(document).__name__}")
    return document or {}

"""Settings on a command line: the flags of a command, and what the command `config` prints. For both programs.

Belongs here: how settings look to people. Which ones there are, and which command takes which, is each program's own.
"""

import argparse
import dataclasses
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from flox_formats.settings import Given, Source
from flox_formats.url import shown_url

_WORDS_BY_SUFFIX = {"_s": "SECONDS", "_bytes": "BYTES", "_url": "URL", "_file": "FILE", "_dir": "DIR", "_cache": "URL"}
_WORDS_BY_TYPE: dict[object, str] = {bool: "true|false", int: "N", Path: "PATH", tuple[str, int]: "HOST:PORT"}


def add_settings(parser: argparse.ArgumentParser, kind: type[Any], names: Collection[str] | None = None) -> None:
    """Adds `--config`, and a flag for each setting of `kind`, or for those in `names`."""
    shown = parser.add_argument_group("settings")
    shown.add_argument("--config", metavar="FILE", help="YAML file with settings by their names")
    for field in dataclasses.fields(kind):
        if names is None or field.name in names:
            _add_flag(shown, field)


def value_word(field: "dataclasses.Field[Any]") -> str:
    """What kind of value a setting takes, as help and manual show it; units are in names."""
    for suffix, word in _WORDS_BY_SUFFIX.items():
        if field.name.endswith(suffix):
            return word
    return _WORDS_BY_TYPE.get(field.type, "TEXT")


def is_repeatable(field: "dataclasses.Field[Any]") -> bool:
    return field.type == tuple[str, ...]


def shown_value(value: object) -> object:
    """As JSON has it. Whatever an URL carries besides its place is masked: a password, a query."""
    if isinstance(value, tuple):
        if all(isinstance(one, str) for one in value):
            return [shown_value(one) for one in value]
        host, port = value
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return shown_url(str(value))


def as_json(settings: Sequence[Given]) -> str:
    document = {
        one.name: {"value": shown_value(one.value), "source": one.source, "flag": one.flag, "variable": one.variable}
        for one in settings
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(settings: Sequence[Given], config_file: str | None) -> str:
    """A line for each value, with who gave it. Members of a list have lines of their own."""
    rows = []
    for one in settings:
        value = shown_value(one.value)
        first, *more = [_words(member) for member in value or [None]] if isinstance(value, list) else [_words(value)]
        rows += [(one.name, _given_by(one, config_file), first), *(("", "", member) for member in more)]
    names, givers, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(f"{name:<{names}}  {giver:<{givers}}  {value}".rstrip() for name, giver, value in rows)


def _add_flag(parser: "argparse._ArgumentGroup", field: "dataclasses.Field[Any]") -> None:
    default = shown_value(field.default)
    shown = " ".join(map(_words, default)) if isinstance(default, list) else _words(default)
    about = f"{field.metadata['about']} (default: {shown})".replace("%", "%%")
    name, word = f"--{field.name.replace('_', '-')}", value_word(field)
    if is_repeatable(field):
        parser.add_argument(name, action="append", metavar=word, help=about)
    elif field.type is bool:
        parser.add_argument(name, nargs="?", const="true", metavar=word, help=about)
    else:
        parser.add_argument(name, metavar=word, help=about)


def _given_by(one: Given, config_file: str | None) -> str:
    where = {Source.FLAG: one.flag, Source.VARIABLE: one.variable, Source.FILE: config_file or ""}
    return f"{one.source} {where.get(one.source, '')}".strip()


def _words(value: object) -> str:
    """As a person writes it into the file."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)

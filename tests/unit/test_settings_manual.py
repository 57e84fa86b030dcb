"""`docs/settings.md` lists every setting of both halves and of the launcher, with the name, the kind and the default
that the code has. A failure shows the row that the code wants.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from flox_formats.settings_command import shown_value, value_word
from registry_proxy import settings as registry
from shim_hooks import settings as node

HOUSE = Path(__file__).resolve().parents[2]
MANUAL = (HOUSE / "docs" / "settings.md").read_text()


def row(field: "dataclasses.Field[Any]", prefix: str) -> str:
    """What the manual has to say of a setting."""
    default = shown_value(field.default)
    members = default if isinstance(default, list) else [default]
    shown = "none" if default is None else "<br>".join(f"`{_text(member)}`" for member in members)
    flag, variable = f"--{field.name.replace('_', '-')}", prefix + field.name.upper()
    word = value_word(field).replace("|", "\\|")
    return f"| `{field.name}` | `{flag}` | `{variable}` | {word} | {shown} | {field.metadata['about']} |"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def rows(heading: str) -> list[str]:
    section = MANUAL.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize(
    ("heading", "kind", "prefix"),
    [
        pytest.param("The registry", registry.Settings, registry.PREFIX, id="registry"),
        pytest.param("The node", node.Settings, node.PREFIX, id="node"),
    ],
)
def test_the_manual_has_a_row_for_each_setting(heading: str, kind: type[Any], prefix: str) -> None:
    assert rows(heading) == [row(field, prefix) for field in dataclasses.fields(kind)]


def test_the_manual_has_the_launchers_keys() -> None:
    source = (HOUSE / "shim_hooks" / "launcher" / "floxbridge_runc.c").read_text()
    keys = re.findall(r'strcmp\(key, "(\w+)"\) == 0', source)
    assert keys
    assert [line.split("`")[1] for line in rows("The launcher")] == keys


def test_no_flag_means_two_things() -> None:
    """A name says what a setting is, in both halves."""
    both = {field.name: field for field in dataclasses.fields(registry.Settings)}
    for field in dataclasses.fields(node.Settings):
        if field.name in both:
            assert value_word(field) == value_word(both[field.name])

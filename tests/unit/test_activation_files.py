"""`activate.d` of a linked environment."""

import json

import pytest

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import Lockfile
from shim_hooks.environment.activation_files import activation_files, outdented, own_scripts
from shim_hooks.errors import Refused
from tests.real_lockfiles import REAL_LOCKFILES

WEB = EnvironmentName.parse("acme/web")
_OWN = {f"activate.d/floxbridge/{name}.bash" for name in ("activation", "record", "start")}
_OWN |= {"activate.d/floxbridge/record/README"}


def files(**manifest: object) -> dict[str, str]:
    document = {"lockfile-version": 1, "manifest": {"version": 1, **manifest}, "packages": []}
    found = activation_files(WEB, Lockfile.parse(json.dumps(document).encode()))
    assert found.keys() >= _OWN
    return {path.removeprefix("activate.d/"): data.decode() for path, data in found.items() if path not in _OWN}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param({}, {"envrc": ""}, id="nothing"),
        pytest.param(
            {"vars": {"B": "plain", "A": '$B and "$(date)"\n\\'}},
            {"envrc": 'export B="plain"\nexport A="$B and "$(date)"\n\\"\n'},
            id="vars-unescaped-and-in-order",
        ),
        pytest.param(
            {"hook": {"on-activate": "    if x; then\n\n      y\n    fi\n", "on-deactivate": "bye"}},
            {"envrc": "", "hook-on-activate": "if x; then\n\n  y\nfi\n", "hook-on-deactivate": "bye"},
            id="hooks-outdented",
        ),
        pytest.param(
            {"profile": {"common": "a", "zsh": "b", "fish": " ", "bash": None, "deactivate": {"bash": "c"}}},
            {"envrc": "", "profile-common": "a", "profile-zsh": "b", "deactivate-profile-bash": "c"},
            id="profiles",
        ),
    ],
)
def test_what_is_in_it(manifest: dict[str, object], expected: dict[str, str]) -> None:
    assert files(**manifest) == expected


@pytest.mark.parametrize(
    "name", [pytest.param("A;rm -rf /", id="command"), pytest.param("A\n", id="line"), pytest.param("", id="empty")]
)
def test_names_that_would_be_commands(name: str) -> None:
    with pytest.raises(Refused, match="environment acme/web: vars: "):
        files(vars={name: "1"})


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("a\n  b", "a\n  b"),
        ("  a\n    b\n", "a\n  b\n"),
        ("  a\n\n    b", "a\n\n  b"),
        ("\ta\n  b", "\ta\n  b"),
        ("  \n   a", "\n a"),
        ("", ""),
    ],
)
def test_outdenting(script: str, expected: str) -> None:
    assert outdented(script) == expected


def test_a_changed_script_is_a_new_format() -> None:
    """They lie in every environment directory on every node: with a new digest here, raise its `_FORMAT`."""
    scripts = own_scripts()
    together = Digest.of(b"".join(scripts[name] for name in sorted(scripts)))
    assert str(together) == "sha256:711e3476fb83573bf04a0e02ae9afba2033c5211a8ec755fa0b678becaf71712"


@pytest.mark.parametrize("path", REAL_LOCKFILES, ids=lambda path: path.stem)
def test_real_lockfiles(path: "object") -> None:
    assert hasattr(path, "read_bytes")
    read = Lockfile.parse(path.read_bytes())
    found = activation_files(WEB, read)
    assert ("activate.d/hook-on-activate" in found) is (read.manifest.hook_on_activate is not None)

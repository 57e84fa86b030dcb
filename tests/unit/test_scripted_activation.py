"""Which environments need a shell, and which store paths hold one."""

import json

import pytest

from flox_formats.lockfile import Lockfile
from flox_formats.scripted_activation import is_bash, needs_shell
from flox_formats.store_path import StorePath
from registry_proxy.settings import activation_shells


def lockfile(**manifest: object) -> Lockfile:
    document = {"lockfile-version": 1, "manifest": {"version": 1, **manifest}, "packages": []}
    return Lockfile.parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"vars": {"A": "plain 'text' with ! * ; and spaces"}}, None, id="plain-vars"),
        pytest.param({"profile": {"common": "echo hi"}}, None, id="profile-is-for-shells"),
        pytest.param({"services": {"db": {"command": "postgres"}}}, None, id="services-never-start-in-containers"),
        pytest.param({"hook": {"on-activate": " \n"}}, None, id="blank-hook"),
        pytest.param({"hook": {"on-deactivate": "echo bye"}}, None, id="nobody-deactivates-a-container"),
        pytest.param({"hook": {"on-activate": "echo hi"}}, "has a hook.on-activate, which needs a shell", id="hook"),
        pytest.param({"vars": {"A": "$HOME/x"}}, "the value of A in its [vars] needs a shell", id="reference"),
        pytest.param({"vars": {"A": "`date`"}}, "the value of A in its [vars] needs a shell", id="command"),
        pytest.param({"vars": {"A": 'say "x"'}}, "the value of A in its [vars] needs a shell", id="quote"),
        pytest.param({"vars": {"A": "a\\nb"}}, "the value of A in its [vars] needs a shell", id="backslash"),
    ],
)
def test_which_need_a_shell(manifest: dict[str, object], why: str | None) -> None:
    found = needs_shell(lockfile(**manifest).activation)
    assert (found is None) if why is None else why in (found or "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bash-5.2p37", True),
        ("bash-interactive-5.3p3", True),
        ("bash-5.2-p15", True),
        ("bash-5.2p37-man", False),
        ("bash-interactive-5.3p3-dev", False),
        ("bash-completion-2.11", False),
        ("rebash-5", False),
        ("bash", False),
    ],
)
def test_which_store_paths_are_a_bash(name: str, expected: bool) -> None:
    assert is_bash(StorePath("0" * 32, name)) is expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x86_64-linux", id="no-path"),
        pytest.param("x86_64-linux=/bin/bash", id="no-store-path"),
        pytest.param(f"x86_64-darwin=/nix/store/{'0' * 32}-bash-5.3", id="no-linux"),
        pytest.param(f"x86_64-linux=/nix/store/{'0' * 32}-zsh-5.3", id="no-bash"),
    ],
)
def test_a_setting_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="want "):
        activation_shells((text,))

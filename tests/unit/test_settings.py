import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from flox_formats.settings import SettingsInvalid, effective, read_settings
from flox_formats.settings_command import shown_value
from registry_proxy.settings import PREFIX, Settings


def _read(
    flags: Mapping[str, object] = {}, variables: Mapping[str, str] = {}, file: Mapping[str, object] = {}
) -> Settings:
    return read_settings(Settings, flags=flags, variables=variables, prefix=PREFIX, file=file)


def test_flag_beats_variable_beats_file_beats_default() -> None:
    file = {"resolve_ttl_s": 1, "pinned_ttl_s": 2, "missing_ttl_s": 3}
    settings = _read({"resolve_ttl_s": "7"}, {"FLOXBRIDGE_RESOLVE_TTL_S": "8", "FLOXBRIDGE_PINNED_TTL_S": "9"}, file)
    assert (settings.resolve_ttl_s, settings.pinned_ttl_s, settings.missing_ttl_s) == (7, 9, 3)
    assert settings.lookup_timeout_s == Settings().lookup_timeout_s


@pytest.mark.parametrize(
    ("file", "said"),
    [
        pytest.param({"resolve_ttl": 1}, "resolve_ttl", id="unknown-key"),
        pytest.param({"resolve_ttl_s": "soon"}, "want a number", id="not-a-number"),
        pytest.param({"resolve_ttl_s": -1}, "zero or more", id="negative"),
        pytest.param({"resolve_ttl_s": float("inf")}, "zero or more", id="endless"),
        pytest.param({"max_questions": 1.5}, "whole", id="half-a-question"),
        pytest.param({"listen": "5000"}, "HOST:PORT", id="no-host"),
        pytest.param({"nix_cache": [1]}, "list of texts", id="not-texts"),
        pytest.param({"access_log": "perhaps"}, "true or false", id="neither"),
    ],
)
def test_refuses(file: Mapping[str, object], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        _read(file=file)


def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(SettingsInvalid, match="resolv_ttl_s"):
        _read(variables={"FLOXBRIDGE_RESOLV_TTL_S": "1", "HOME": "/root"})


def test_lists_come_as_one_text_or_as_a_list() -> None:
    assert _read(variables={"FLOXBRIDGE_NIX_CACHE": "https://a https://b"}).nix_cache == ("https://a", "https://b")
    assert _read(file={"nix_cache": ["file:///c"]}).nix_cache == ("file:///c",)


def test_paths_are_absolute() -> None:
    assert _read({"state_dir": "state"}).state_dir == Path.cwd() / "state"


def test_every_setting_is_explained() -> None:
    assert all(len(field.metadata["about"]) > 10 for field in dataclasses.fields(Settings))


def test_each_value_says_who_gave_it() -> None:
    flags = {"resolve_ttl_s": "7"}
    variables = {"FLOXBRIDGE_RESOLVE_TTL_S": "8", "FLOXBRIDGE_PINNED_TTL_S": "9"}
    found = {one.name: one.source for one in effective(Settings, flags, variables, PREFIX, {"missing_ttl_s": 3})}
    given = {"resolve_ttl_s": "flag", "pinned_ttl_s": "variable", "missing_ttl_s": "file", "max_stale_s": "default"}
    assert {name: found[name] for name in given} == given


@pytest.mark.parametrize(
    "name",
    [
        "FLOXBRIDGE_SERVICE_HOST",
        "FLOXBRIDGE_SERVICE_PORT",
        "FLOXBRIDGE_SERVICE_PORT_HTTP",
        "FLOXBRIDGE_PORT",
        "FLOXBRIDGE_PORT_5000_TCP",
        "FLOXBRIDGE_PORT_5000_TCP_ADDR",
        "FLOXBRIDGE_REGISTRY_SERVICE_HOST",
        "FLOXBRIDGE_REGISTRY_PORT_5000_TCP_PROTO",
    ],
)
def test_what_kubernetes_says_of_a_service_of_our_name_is_passed_over(name: str) -> None:
    assert _read(variables={name: "tcp://10.0.0.1:5000"}) == Settings()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("https://me:secret@host/a", "https://***@host/a", id="password"),
        pytest.param("https://token@host", "https://***@host", id="user-alone"),
        pytest.param("https://host/a?key=secret&b=1", "https://host/a?***", id="query"),
        pytest.param("https://host/a@b", "https://host/a@b", id="no-secret"),
        pytest.param(("https://a:b@c", "file:///d"), ["https://***@c", "file:///d"], id="list"),
        pytest.param(("::1", 5000), "[::1]:5000", id="address"),
        pytest.param(Path("/x"), "/x", id="path"),
        pytest.param(2.0, 2, id="whole-seconds"),
        pytest.param(0.25, 0.25, id="part-of-a-second"),
        pytest.param(False, False, id="flag"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_values_as_they_are_shown(value: object, shown: object) -> None:
    assert shown_value(value) == shown

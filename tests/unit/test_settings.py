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
        pytest.param({"max_questions": float("inf")}, "whole", id="endless-questions"),
        pytest.param({"max_questions": "1e400"}, "whole", id="too-many-digits"),
        pytest.param({"max_questions": float("nan")}, "whole", id="no-number-of-questions"),
        pytest.param({"idle_timeout_s": 0}, "more than zero", id="no-time-for-a-request"),
        pytest.param({"max_questions": 0}, "one or more", id="no-questions"),
        pytest.param({"nix_cache": ["ftp://x"]}, "file:///FOLDER", id="cache-of-another-kind"),
        pytest.param({"nix_cache": "http://[::1"}, "file:///FOLDER", id="half-a-cache"),
        pytest.param({"nix_cache": "file://host/x"}, "file:///FOLDER", id="folder-on-another-host"),
        pytest.param({"nix_cache": ["http://x?a", "http://x?b"]}, "each cache once", id="cache-with-two-keys"),
        pytest.param({"trusted_key": "foo"}, "foo", id="no-key"),
        pytest.param({"floxhub_url": "http://[::1"}, "want http", id="half-a-url"),
        pytest.param({"floxhub_git_url": "http://me:pw@h"}, "no credentials", id="password-for-floxhub"),
        pytest.param({"tls_cert_file": "/c"}, "--tls-key-file", id="certificate-without-key"),
        pytest.param({"tls_key_file": "/k"}, "--tls-cert-file", id="key-without-certificate"),
        pytest.param({"hub_dir": "/h", "floxhub_git_url": "http://h"}, "give one of them", id="two-floxhubs"),
        pytest.param(
            {"hub_dir": "/h", "tls_cert_file": "/c", "tls_key_file": "/k"}, "hub serve", id="own-hub-over-tls"
        ),
        pytest.param({"listen": "5000"}, "HOST:PORT", id="no-host"),
        pytest.param({"nix_cache": [1]}, "list of texts", id="not-texts"),
        pytest.param({"access_log": "perhaps"}, "true or false", id="neither"),
    ],
)
def test_refuses(file: Mapping[str, object], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        _read(file=file)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("FLOXBRIDGE_RESOLV_TTL_S", id="unknown"),
        pytest.param("FLOXBRIDGE_Resolve_ttl_s", id="mixed-case"),
        pytest.param("FLOXBRIDGE_resolve_ttl_s", id="lower-case"),
    ],
)
def test_a_variable_that_is_no_setting_is_an_error(name: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"the environment sets {name}, .* FLOXBRIDGE_RESOLVE_TTL_S"):
        _read(variables={name: "1", "HOME": "/root"})


def test_lists_come_as_one_text_or_as_a_list() -> None:
    assert _read(variables={"FLOXBRIDGE_NIX_CACHE": "https://a https://b"}).nix_cache == ("https://a", "https://b")
    assert _read(file={"nix_cache": ["file:///c"]}).nix_cache == ("file:///c",)


def test_paths_are_absolute() -> None:
    assert _read({"state_dir": "state"}).state_dir == Path.cwd() / "state"


@pytest.mark.parametrize(
    ("settings", "base", "git"),
    [
        pytest.param(Settings(), "https://hub.flox.dev", "https://api.flox.dev/git", id="floxs-own"),
        pytest.param(Settings(floxhub_url="http://h"), "http://h", "http://h/git", id="another"),
        pytest.param(
            Settings(floxhub_git_url="http://g"), "https://hub.flox.dev", "http://g", id="git-of-another-place"
        ),
        pytest.param(Settings(hub_dir=Path("/h")), "http://floxhub.localhost", "http://own/git", id="embedded"),
        pytest.param(
            Settings(hub_dir=Path("/h"), floxhub_url="http://h"), "http://h", "http://own/git", id="embedded-and-named"
        ),
    ],
)
def test_which_floxhub_is_meant(settings: Settings, base: str, git: str) -> None:
    urls = settings.floxhub_urls("http://own")
    assert (settings.floxhub_base_url, urls.base, urls.git) == (base, base, git)


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
        pytest.param("https://me:p@ss@host/a", "https://***@host/a", id="password-with-an-at"),
        pytest.param("https://host/a?key=secret&b=1", "https://host/a?***", id="query"),
        pytest.param("https://host?key=a@b", "https://host?***", id="query-with-an-at"),
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

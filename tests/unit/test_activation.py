"""Activation: the variables of FH §8.3, and when a shell stands between."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import Lockfile
from flox_formats.scripted_activation import needs_shell
from flox_formats.store_path import StorePath
from shim_hooks.environment.activation import Activation, Role, activate
from shim_hooks.environment.contents import DevelopmentContents, EnvironmentContents
from shim_hooks.environment.mode import Mode
from shim_hooks.errors import Refused
from tests.real_lockfiles import REAL_LOCKFILES

PATH = StorePath.from_base_name("0" * 32 + "-environment-web")
E = str(PATH)
ENVIRONMENT = EnvironmentName.parse("acme/web")


def lockfile(**manifest: object) -> Lockfile:
    document = {"lockfile-version": 1, "manifest": {"version": 1, **manifest}, "packages": []}
    return Lockfile.parse(json.dumps(document).encode())


def activation(
    lock: Lockfile,
    inherited: Mapping[str, str] | None = None,
    *,
    contents: EnvironmentContents | None = None,
    development: DevelopmentContents | None = None,
) -> Activation:
    return activate(
        lockfile=lock.activation,
        env_path=PATH,
        environment=ENVIRONMENT,
        mode=Mode.RUN if development is None else Mode.DEV,
        inherited=inherited or {},
        contents=contents or EnvironmentContents(),
        development=development,
    )


def variables(
    inherited: Mapping[str, str] | None = None, *, has_ca_bundle: bool = False, vars_: Mapping[str, str] | None = None
) -> Mapping[str, str]:
    found = activation(lockfile(vars=vars_ or {}), inherited, contents=EnvironmentContents(has_ca_bundle=has_ca_bundle))
    assert found.script is None
    return found.variables


def test_everything_that_is_set_on_nothing() -> None:
    assert variables() == {
        "PATH": f"{E}/bin",
        "MANPATH": f"{E}/share/man:",
        "INFOPATH": f"{E}/share/info:",
        "XDG_DATA_DIRS": f"{E}/share",
        "FLOX_PROMPT_ENVIRONMENTS": "floxenv",
        "FLOX_PROMPT_COLOR_1": "99",
        "FLOX_PROMPT_COLOR_2": "141",
        "_FLOX_ACTIVE_ENVIRONMENTS": "[]",
        "FLOX_ENV": E,
        "FLOX_ENV_CACHE": "/tmp",
        "FLOX_ENV_DESCRIPTION": "acme/web",
        "FLOX_ENV_DIRS": E,
        "_FLOX_ENV_DIRS_ADD_SBIN": "empty",
        "FLOX_ACTIVATE_START_SERVICES": "false",
    }


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("PATH", "/usr/bin:/bin", f"{E}/bin:/usr/bin:/bin", id="path"),
        pytest.param("PATH", "/a:/b:/a", f"{E}/bin:/a:/b", id="path-without-duplicates"),
        pytest.param("PATH", f"/a:{E}/bin", f"{E}/bin:/a", id="path-that-has-it"),
        pytest.param("PATH", "", f"{E}/bin", id="path-empty"),
        pytest.param("MANPATH", "/usr/man", f"{E}/share/man:/usr/man:", id="manpath"),
        pytest.param("MANPATH", "/usr/man:", f"{E}/share/man:/usr/man:", id="manpath-trailing-colon"),
        pytest.param("MANPATH", ":/usr/man", f"{E}/share/man::/usr/man", id="manpath-leading-colon"),
        pytest.param("MANPATH", "/a::/b", f"{E}/share/man:/a::/b", id="manpath-double-colon"),
        pytest.param("INFOPATH", "/usr/info", f"{E}/share/info:/usr/info", id="infopath"),
        pytest.param("XDG_DATA_DIRS", "/usr/share", f"{E}/share:/usr/share", id="data-dirs"),
        pytest.param("FLOX_PROMPT_COLOR_1", "7", "7", id="colour"),
        pytest.param("FLOX_ENV", "/nix/store/other", E, id="another-environment"),
    ],
)
def test_what_was_inherited(name: str, old: str, new: str) -> None:
    assert variables({name: old})[name] == new


@pytest.mark.parametrize(
    ("inherited", "has_ca_bundle", "bundle"),
    [
        pytest.param({}, False, None, id="none"),
        pytest.param({}, True, f"{E}/etc/ssl/certs/ca-bundle.crt", id="of-the-environment"),
        pytest.param({"SSL_CERT_FILE": "/etc/ca.pem"}, True, "/etc/ca.pem", id="of-the-image"),
        pytest.param(
            {"SSL_CERT_FILE": "/etc/ca.pem", "NIX_SSL_CERT_FILE": "/x"}, False, "/etc/ca.pem", id="both-agree"
        ),
    ],
)
def test_certificates(inherited: dict[str, str], has_ca_bundle: bool, bundle: str | None) -> None:
    found = variables(inherited, has_ca_bundle=has_ca_bundle)
    assert (found.get("SSL_CERT_FILE"), found.get("NIX_SSL_CERT_FILE")) == (bundle, bundle)


def test_the_authors_variables_come_last() -> None:
    vars_ = {"A": "1", "PATH": "/only", "FLOX_ENV_CACHE": "/var/cache", "SSL_CERT_FILE": "/c"}
    found = variables({"PATH": "/bin", "A": "old"}, vars_=vars_)
    assert (found["A"], found["PATH"], found["FLOX_ENV_CACHE"]) == ("1", "/only", "/var/cache")
    assert found["SSL_CERT_FILE"] == "/c"


def test_what_flox_never_records() -> None:
    assert {"PWD", "OLDPWD", "_", "SHELLOPTS"}.isdisjoint(
        variables(vars_={"PWD": "/x", "OLDPWD": "/y", "_": "z", "SHELLOPTS": "e"})
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("A B", "1", id="white-space"),
        pytest.param("A=B", "1", id="equals"),
        pytest.param("", "1", id="empty"),
        pytest.param("BASH_ENVTRACE_X", "1", id="reserved"),
        pytest.param("A", "1\0B=2", id="nul"),
    ],
)
def test_refuses_what_no_variable_can_be(name: str, value: str) -> None:
    with pytest.raises(Refused, match="environment acme/web: vars: "):
        variables(vars_={name: value})


@given(
    st.dictionaries(st.text(max_size=8), st.text(max_size=8)), st.dictionaries(st.text(max_size=5), st.text(max_size=5))
)
def test_any_vars_are_set_or_refused(inherited: dict[str, str], vars_: dict[str, str]) -> None:
    if needs_shell(lockfile(vars=vars_).activation) is not None:
        return
    try:
        found = variables(inherited, vars_=vars_)
    except Refused:
        return
    assert all("=" not in name and name and "\0" not in value for name, value in found.items() if name in vars_)


@pytest.mark.parametrize("path", REAL_LOCKFILES, ids=lambda path: path.stem)
def test_real_lockfiles_are_static_or_scripted(path: "object") -> None:
    assert hasattr(path, "read_bytes")
    read = Lockfile.parse(path.read_bytes())
    found = activation(read, contents=EnvironmentContents(bash="/nix/store/x/bin/bash"))
    assert (found.script is None) == (needs_shell(read.activation) is None)


HOOK = lockfile(hook={"on-activate": "true"}, vars={"A": "1"})
BASH = EnvironmentContents(bash="/nix/store/b/bin/bash")


def test_a_script_runs_the_command() -> None:
    found = activation(HOOK, contents=BASH)
    assert found.script is not None
    start = f"{E}/activate.d/floxbridge/start.bash"
    assert found.script.arguments(Role.FIRST) == ("/nix/store/b/bin/bash", "-p", start, "run")
    assert found.script.arguments(Role.JOINS) == ("/nix/store/b/bin/bash", "-p", start, "exec")
    assert found.script.record == f"{E}/activate.d/floxbridge/record"
    assert "A" not in found.variables  # which the script sets, in their order
    assert found.variables["FLOX_ENV"] == E


def test_no_shell_to_be_had() -> None:
    with pytest.raises(Refused, match=r"has a hook.on-activate.* and its closure has no bash: add bash to \[install\]"):
        activation(HOOK)


@pytest.mark.parametrize(
    ("development", "scripted"),
    [pytest.param(None, False, id="run"), pytest.param(DevelopmentContents(), True, id="dev")],
)
def test_profile_scripts_of_packages(development: DevelopmentContents | None, scripted: bool) -> None:
    contents = EnvironmentContents(has_profile_scripts=True, bash="/b")
    found = activation(lockfile(), contents=contents, development=development)
    assert (found.script is not None) is scripted


@pytest.mark.parametrize(
    ("contents", "inherited", "expected"),
    [
        pytest.param(
            DevelopmentContents(),
            {},
            {
                "CPATH": f"{E}/include",
                "LIBRARY_PATH": f"{E}/lib",
                "PKG_CONFIG_PATH": f"{E}/lib/pkgconfig:{E}/share/pkgconfig",
                "ACLOCAL_PATH": f"{E}/share/aclocal",
            },
            id="always",
        ),
        pytest.param(
            DevelopmentContents(True, True, True, True, "3.12"),
            {},
            {
                "RUST_SRC_PATH": E,
                "JUPYTER_PATH": f"{E}/share/jupyter",
                "JAVA_HOME": E,
                "CMAKE_PREFIX_PATH": E,
                "PYTHONPATH": f"{E}/lib/python3.12/site-packages",
            },
            id="where-it-is-there",
        ),
        pytest.param(
            DevelopmentContents(python="3.9", has_java=True),
            {"CPATH": "/usr/include", "PYTHONPATH": "/app", "JAVA_HOME": "/usr/lib/java"},
            {
                "CPATH": f"{E}/include:/usr/include",
                "PYTHONPATH": f"{E}/lib/python3.9/site-packages:/app",
                "JAVA_HOME": E,
            },
            id="inherited",
        ),
    ],
)
def test_variables_of_dev(contents: DevelopmentContents, inherited: dict[str, str], expected: dict[str, str]) -> None:
    found = activation(lockfile(), inherited, development=contents).variables
    assert {name: found[name] for name in expected} == expected
    assert {"LD_AUDIT", "GLIBC_TUNABLES", "PIP_CONFIG_FILE", "LD_LIBRARY_PATH"}.isdisjoint(found)


def test_run_has_none_of_them() -> None:
    assert {"CPATH", "LIBRARY_PATH", "PYTHONPATH", "CMAKE_PREFIX_PATH"}.isdisjoint(variables())

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.lockfile import (
    MAX_BYTES,
    Lockfile,
    LockfileInvalid,
    LockfileVersionUnsupported,
    OutputUnknown,
    PackageKind,
    SystemNotServed,
)
from flox_formats.system import System
from tests.conftest import cannot_run
from tests.real_lockfiles import REAL_LOCKFILES
from tests.unit.mutations import mutated

FIXTURES = Path(__file__).parents[1] / "fixtures" / "lockfiles"
OURS = sorted(FIXTURES.glob("*.lock"))
X, A = System.X86_64_LINUX, System.AARCH64_LINUX
BOTH = (X, A)
FOUR = ("aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux")
THREE = ("aarch64-darwin", "aarch64-linux", "x86_64-linux")

# What is linked on a system: install id, then output@priority; the priority is left out where it is Flox's default, 5.
EXPECTED: dict[str, tuple[str, tuple[str, ...], dict[System, str]]] = {
    "catalog": (
        "1.10.0",
        THREE,
        {
            X: "web:out tool:man@3 tool:bin@3 everything:dev everything:out everything:stubs ours:out",
            A: "web:out tool:man@3 tool:bin@3 everything:dev everything:out everything:stubs",
        },
    ),
    "composed": ("1.14.0", ("aarch64-linux", "x86_64-linux"), dict.fromkeys(BOTH, "web:out base:out")),
    "container": ("1.14.0", ("aarch64-linux", "x86_64-linux"), dict.fromkeys(BOTH, "web:out")),
    "darwin-only": ("1.12.0", ("aarch64-darwin", "x86_64-darwin"), {}),
    "empty": ("1.13.0", (), dict.fromkeys(BOTH, "")),
    "flake": ("1.15.0", THREE, dict.fromkeys(BOTH, "shell:out shell:man kit:out@9 kit:dev@9")),
    "nulls": ("1.14.0", ("x86_64-linux",), {X: "web:out"}),
    "one-system": ("1.14.0", ("aarch64-darwin", "x86_64-linux"), {X: "web:out"}),
    "pinned-elsewhere": ("1.14.0", ("aarch64-darwin",), dict.fromkeys(BOTH, "")),
    "repeated-outputs": ("1.11.0", ("aarch64-linux", "x86_64-linux"), dict.fromkeys(BOTH, "fetcher:bin fetcher:man")),
    "store-path": ("1.15.0", ("x86_64-linux",), {X: "mine:-@2 web:out"}),
    "version-1": (
        "1",
        THREE,
        dict.fromkeys(
            BOTH,
            "web:man web:out web:dev@5000 cuda:out@0 cuda:doc@1 cuda:static@2 late:out@7 late:debug@7003",
        ),
    ),
}

_BASH = "bash:man bash:out bash:debug@5000 bash:dev@5001 bash:doc@5002 bash:info@5003"
_CURL = "curl:bin curl:man curl:debug@5000 curl:dev@5001 curl:devdoc@5002 curl:out@5003 hello:out"
_DOCS = (
    "lychee:out markdownlint-cli2:out coreutils:debug coreutils:info coreutils:out curl:bin curl:debug curl:dev "
    "curl:devdoc curl:man curl:out d2:out findutils:info findutils:locate findutils:out gnumake:man gnumake:out "
    "gnused:info gnused:out gnutar:info gnutar:out pandoc:out pngquant:man pngquant:out poetry:dist poetry:out "
    "python:out"
)
_KIND = (
    "colima:out docker-client:out gh:out iptables:man iptables:out iptables:dev@5000 iptables:lib@5001 just:man "
    "just:out just:doc@5002 k9s:out kind:out kubectl:man kubectl:out kubectl:convert@5003 kubectx:out perl:man "
    "perl:out perl:devdoc@5004"
)
EXPECTED_REAL: dict[str, tuple[str, tuple[str, ...], dict[System, str]]] = {
    "composer": ("1", FOUR, dict.fromkeys(BOTH, "hello:out")),
    "flake_bash": ("1", FOUR, dict.fromkeys(BOTH, _BASH)),
    "floxdocs": ("1.11.0", FOUR, dict.fromkeys(BOTH, _DOCS)),
    "kind_demo": ("1", FOUR, dict.fromkeys(BOTH, _KIND)),
    "kitchen_sink": ("1.14.0", THREE, dict.fromkeys(BOTH, "hello:out")),
    "tabula_broken": ("1.14.0", THREE, dict.fromkeys(BOTH, "tabula:out")),
    "v1_curl_hello": ("1", FOUR, dict.fromkeys(BOTH, _CURL)),
}


def linked(lockfile: Lockfile, system: System) -> str:
    return " ".join(
        f"{chosen.install_id}:{chosen.output or '-'}" + (f"@{chosen.priority}" if chosen.priority != 5 else "")
        for chosen in lockfile.selected_outputs(system)
    )


def check_table(path: Path, expected: tuple[str, tuple[str, ...], dict[System, str]]) -> None:
    lockfile = Lockfile.parse(path.read_bytes())
    version, systems, outputs = expected
    assert (lockfile.manifest.version, lockfile.systems()) == (version, systems)
    assert {system: linked(lockfile, system) for system in lockfile.linux_systems()} == outputs
    assert lockfile.digest == Digest.of(lockfile.data)


def fixture(name: str) -> Lockfile:
    return Lockfile.parse((FIXTURES / f"{name}.lock").read_bytes())


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_lockfiles(path: Path) -> None:
    check_table(path, EXPECTED[path.stem])


@pytest.mark.parametrize("path", REAL_LOCKFILES, ids=lambda path: path.stem)
def test_real_lockfiles(path: Path) -> None:
    check_table(path, EXPECTED_REAL[path.stem])


def test_the_real_lockfiles_are_here() -> None:
    if not REAL_LOCKFILES:
        cannot_run("no ../shared/data/lockfiles beside the project")
    assert {path.stem for path in REAL_LOCKFILES} == EXPECTED_REAL.keys()


def test_amd64_comes_first() -> None:
    assert fixture("catalog").linux_systems() == (X, A)


def test_a_selected_output_is_the_store_path_of_its_system() -> None:
    lockfile = fixture("catalog")
    for system in BOTH:
        assert {chosen.store_path.name.split("-", 2)[2] for chosen in lockfile.selected_outputs(system)} <= {
            f"{system}{suffix}" for suffix in ("", "-bin", "-man", "-dev", "-stubs")
        }


def test_the_three_kinds() -> None:
    kinds = {p.install_id: p.kind for name in ("flake", "store-path") for p in fixture(name).packages}
    assert kinds == {
        "shell": PackageKind.FLAKE,
        "kit": PackageKind.FLAKE,
        "mine": PackageKind.STORE_PATH,
        "web": PackageKind.CATALOG,
    }
    shell = fixture("flake").packages[0]
    assert (shell.licenses, shell.priority, shell.outputs_to_install) == (("MIT", "Apache-2.0"), 5, ("out", "man"))
    assert shell.locked_url is not None
    assert shell.locked_url.startswith("github:acme/shell/")


def test_what_people_are_told_about_a_package() -> None:
    web = fixture("catalog").packages[0]
    assert (web.name, web.pname, web.version, web.licenses) == ("web-1.0", "web", "1.0", ("MIT",))
    assert (web.unfree, web.broken, web.attr_path) == (False, False, "web")
    bare = fixture("nulls").packages[0]
    assert (bare.name, bare.version, bare.licenses, bare.unfree) == (None, None, (), None)


def test_a_custom_catalog_is_told_by_the_manifest() -> None:
    install = fixture("catalog").manifest.install
    assert {name for name, descriptor in install.items() if descriptor.is_custom_catalog} == {"ours"}


def test_only_the_merged_manifest_of_a_composition_counts() -> None:
    manifest = fixture("composed").manifest
    assert (manifest.version, manifest.install["web"].outputs) == ("1.14.0", None)
    assert manifest.hook_on_activate == "echo base\necho composer\n"


def test_what_a_container_is_told() -> None:
    manifest = fixture("container").manifest
    config = manifest.containerize
    assert (config.user, config.working_dir, config.stop_signal) == ("web", "/srv", "SIGINT")
    assert (config.cmd, config.exposed_ports, config.volumes) == (("web", "--port", "8080"), ("8080/tcp",), ("/data",))
    assert (config.labels, manifest.activate_mode, manifest.has_services) == ({"team": "acme"}, "run", True)


def test_what_a_container_is_not_told() -> None:
    manifest = fixture("nulls").manifest
    config = manifest.containerize
    assert (config.user, config.cmd, config.exposed_ports, config.labels) == (None, None, (), {})
    assert (manifest.hook_on_activate, manifest.activate_mode, manifest.has_services) == (None, None, False)
    assert (manifest.vars, manifest.options_systems) == ({}, None)


@pytest.mark.parametrize(
    ("name", "system", "problem"),
    [
        pytest.param(
            "one-system", A, "not locked for aarch64-linux; it is for aarch64-darwin, x86_64-linux", id="option"
        ),
        pytest.param("store-path", A, "not locked for aarch64-linux; it is for x86_64-linux", id="implicit"),
        pytest.param("darwin-only", X, "it is for aarch64-darwin, x86_64-darwin", id="darwin-only"),
    ],
)
def test_refuses_a_system(name: str, system: System, problem: str) -> None:
    lockfile = fixture(name)
    for ask in (lockfile.require, lockfile.selected_outputs):
        with pytest.raises(SystemNotServed, match=problem):
            ask(system)


def test_an_environment_for_no_system_says_so() -> None:
    with pytest.raises(SystemNotServed, match="it is for no system"):
        Lockfile.parse(lock({"options": {"systems": []}})).require(X)


WEB: dict[str, Any] = {
    "install_id": "web",
    "system": "x86_64-linux",
    "locked_url": "https://github.com/flox/nixpkgs?rev=x",
    "priority": 5,
    "outputs": {"out": "/nix/store/00000000000000000000000000000000-web"},
    "outputs_to_install": ["out"],
}


def lock(manifest: Any = None, package: Any = None, **top: Any) -> bytes:
    install = {"install": {"web": {"pkg-path": "web"}}}
    document = {
        "lockfile-version": 1,
        "manifest": {"schema-version": "1.14.0", **install, **(manifest or {})},
        "packages": [{**WEB, **(package or {})}],
        **top,
    }
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "lockfile: not JSON", id="empty"),
        pytest.param(b"null", "want a JSON object", id="null"),
        pytest.param(b"{" + b" " * MAX_BYTES + b"}", "more than", id="too-long"),
        pytest.param(b"{}", "'lockfile-version' is missing", id="no-version"),
        pytest.param(lock(manifest={"schema-version": None}), "neither 'version' nor", id="no-manifest-version"),
        pytest.param(lock(manifest={"schema-version": 1}), "'schema-version' is not a string", id="schema-number"),
        pytest.param(b'{"lockfile-version":1,"packages":[]}', "neither 'version' nor", id="no-manifest"),
        pytest.param(b'{"lockfile-version":1,"manifest":7,"packages":[]}', "not an object", id="manifest-number"),
        pytest.param(lock(packages=None), "'packages' is not an array", id="no-packages"),
        pytest.param(lock(packages={"x86_64-linux": []}), "'packages' is not an array", id="packages-by-system"),
        pytest.param(lock(packages=["web"]), r"packages\[0\] is not an object", id="package-text"),
        pytest.param(lock(package={"install_id": None}), r"packages\[0\]: 'install_id' is missing", id="no-install-id"),
        pytest.param(lock(package={"install_id": "other"}), "'other' is not in the manifest", id="not-asked-for"),
        pytest.param(lock(package={"system": None}), "'system' is missing", id="no-system"),
        pytest.param(
            lock(package={"locked_url": None}), "'web' for x86_64-linux: 'locked_url' is missing", id="no-kind"
        ),
        pytest.param(lock(package={"priority": None}), "'web'.*'priority' is missing", id="no-priority"),
        pytest.param(lock(package={"priority": -1}), "zero or more", id="priority-negative"),
        pytest.param(lock(package={"priority": 2**63}), "'priority' is more than", id="priority-huge"),
        pytest.param(lock(package={"priority": "5"}), "not an integer", id="priority-text"),
        pytest.param(lock(package={"outputs": None}), "'outputs' is missing", id="no-outputs"),
        pytest.param(lock(package={"outputs": ["out"]}), "'outputs' is not an object", id="outputs-list"),
        pytest.param(lock(package={"outputs": {"out": 1}}), "outputs.out is not a string", id="output-number"),
        pytest.param(
            lock(package={"outputs": {"out": "/nix/store/../etc"}}), "'web'.*'outputs.out' is wrong", id="escape"
        ),
        pytest.param(lock(package={"store_path": "/etc/passwd"}), "'store_path' is wrong", id="store-path-elsewhere"),
        pytest.param(lock(package={"outputs_to_install": "out"}), "not an array", id="to-install-text"),
        pytest.param(lock(package={"unfree": "yes"}), "not true or false", id="unfree-text"),
        pytest.param(lock({"install": {"web": "web"}}), "install.web is not an object", id="descriptor-text"),
        pytest.param(lock({"install": {"web": {"outputs": "out"}}}), 'neither "all" nor', id="outputs-word"),
        pytest.param(lock({"install": {"web": {"outputs": [1]}}}), "not a string", id="outputs-numbers"),
        pytest.param(lock({"vars": {"A": 1}}), "vars.A is not a string", id="var-number"),
        pytest.param(lock({"hook": {"on-activate": ["x"]}}), "'on-activate' is not a string", id="hook-list"),
        pytest.param(lock({"services": []}), "'services' is not an object", id="services-list"),
        pytest.param(lock({"options": {"activate": {"mode": "build"}}}), "neither 'run' nor 'dev'", id="mode"),
        pytest.param(lock({"options": {"systems": "x86_64-linux"}}), "not an array", id="systems-text"),
    ],
)
def test_refuses(data: bytes, problem: str) -> None:
    with pytest.raises(LockfileInvalid, match=problem) as caught:
        Lockfile.parse(data)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lock(**{"lockfile-version": 0}), id="historic"),
        pytest.param(lock(**{"lockfile-version": 2}), id="next"),
        pytest.param(lock(**{"lockfile-version": "1"}), id="text"),
        pytest.param(lock(**{"lockfile-version": True}), id="true"),
        pytest.param(lock(**{"lockfile-version": 1.0}), id="float"),
        pytest.param(lock({"version": 2}), id="manifest-2"),
        pytest.param(lock({"version": "1"}), id="manifest-text"),
        pytest.param(lock({"version": True}), id="manifest-true"),
        pytest.param(lock({"version": [[]]}), id="manifest-list"),
        pytest.param(lock({"schema-version": "1.9.0"}), id="schema-older"),
        pytest.param(lock({"schema-version": "1.16.0"}), id="schema-newer"),
        pytest.param(lock({"schema-version": "1.14"}), id="schema-short"),
    ],
)
def test_refuses_versions_that_nobody_here_has_seen(data: bytes) -> None:
    with pytest.raises(LockfileVersionUnsupported, match="is not supported, only"):
        Lockfile.parse(data)


@pytest.mark.parametrize("version", ["1.10.0", "1.11.0", "1.12.0", "1.13.0", "1.14.0", "1.15.0"])
def test_every_schema_version_installs_what_outputs_to_install_says(version: str) -> None:
    two = {"outputs": {name: WEB["outputs"]["out"] + "-" + name for name in ("out", "dev")}}
    assert linked(Lockfile.parse(lock({"schema-version": version}, two)), X) == "web:out"


def test_version_goes_before_schema_version() -> None:
    assert Lockfile.parse(lock({"version": 1, "schema-version": "9.9.9"})).manifest.version == "1"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lock({"install": {"web": {"outputs": ["out", "nope"]}}}), id="author"),
        pytest.param(lock(package={"outputs_to_install": ["nope"]}), id="lock"),
    ],
)
def test_an_output_that_is_not_there_is_an_error(data: bytes) -> None:
    with pytest.raises(OutputUnknown, match="'web' for x86_64-linux has no output named 'nope'; it has out"):
        Lockfile.parse(data).selected_outputs(X)


def test_nothing_is_guessed_when_nobody_said_which_outputs() -> None:
    without = {"outputs_to_install": None}
    with pytest.raises(LockfileInvalid, match="'web' for x86_64-linux does not say which outputs"):
        Lockfile.parse(lock(package=without)).selected_outputs(X)
    assert linked(Lockfile.parse(lock({"version": 1}, without)), X) == "web:out@5000"
    assert linked(Lockfile.parse(lock({"install": {"web": {"outputs": "all"}}}, without)), X) == "web:out"


def test_a_hook_of_white_space_is_none() -> None:
    assert Lockfile.parse(lock({"hook": {"on-activate": " \n\t"}})).manifest.hook_on_activate is None


def test_auto_start_alone_is_no_service() -> None:
    assert not Lockfile.parse(lock({"services": {"auto-start": True}})).manifest.has_services


def test_unknown_members_are_ignored() -> None:
    data = lock({"future": 1, "hook": {"on-sunday": "x"}}, {"future": {"a": [1]}}, future=[])
    assert linked(Lockfile.parse(data), X) == "web:out"


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_lockfile_or_refused(data: bytes) -> None:
    _read_or_refuse(data)


@given(mutated([json.loads(path.read_bytes()) for path in OURS]))
def test_any_near_miss_is_a_lockfile_or_refused(document: object) -> None:
    _read_or_refuse(json.dumps(document).encode())


def _read_or_refuse(data: bytes) -> None:
    try:
        lockfile = Lockfile.parse(data)
        for system in lockfile.linux_systems():
            paths = [chosen.store_path for chosen in lockfile.selected_outputs(system)]
            assert len(paths) == len(set(paths))
    except LockfileInvalid:
        return
    assert lockfile.data == data

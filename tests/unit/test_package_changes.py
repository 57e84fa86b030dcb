"""What is different between two lockfiles, in the words of people."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from flox_formats.lockfile import Lockfile
from registry_proxy.explain.package_changes import PackageChanges, packages_of

LINUX = ("x86_64-linux", "aarch64-linux")


def package(
    install_id: str, version: str | None = "1.0", *, build: int = 0, systems: tuple[str, ...] = LINUX, **more: Any
) -> list[dict[str, Any]]:
    """The entries of one package; `build` tells its store paths apart."""
    return [
        {
            "install_id": install_id,
            "system": system,
            "attr_path": install_id,
            "pname": f"{install_id}-name",
            "version": version,
            "locked_url": "https://floxbridge.invalid",
            "priority": 5,
            "outputs": {"out": f"/nix/store/{build:032}-{install_id}-{system.partition('-')[0].replace('_', '-')}"},
            "outputs_to_install": ["out"],
            **more,
        }
        for system in systems
    ]


def lockfile(*packages: list[dict[str, Any]], manifest: Mapping[str, object] | None = None) -> Lockfile:
    entries = [entry for entries in packages for entry in entries]
    install = {entry["install_id"]: {"pkg-path": entry["install_id"]} for entry in entries}
    document = {
        "lockfile-version": 1,
        "manifest": {"version": 1, "install": install, "options": {"systems": LINUX}, **(manifest or {})},
        "packages": entries,
    }
    return Lockfile.parse(json.dumps(document).encode())


def changes(before: Lockfile, after: Lockfile) -> dict[str, object]:
    found = PackageChanges.between(before, after)
    return {
        "added": [it.install_id for it in found.added],
        "removed": [it.install_id for it in found.removed],
        "changed": [(it.install_id, it.before, it.after) for it in found.changed],
        "manifest": list(found.manifest),
    }


NOTHING: dict[str, object] = {"added": [], "removed": [], "changed": [], "manifest": []}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        pytest.param(lockfile(package("a")), lockfile(package("a")), {}, id="the-same"),
        pytest.param(lockfile(), lockfile(package("b"), package("a")), {"added": ["a", "b"]}, id="added"),
        pytest.param(lockfile(package("a")), lockfile(), {"removed": ["a"]}, id="removed"),
        pytest.param(
            lockfile(package("a", "1.0")),
            lockfile(package("a", "2.0", build=1)),
            {"changed": [("a", "1.0", "2.0")]},
            id="upgraded",
        ),
        pytest.param(
            lockfile(package("a")), lockfile(package("a", build=1)), {"changed": [("a", "1.0", "1.0")]}, id="rebuilt"
        ),
        pytest.param(
            lockfile(package("a", None)),
            lockfile(package("a", None, build=1)),
            {"changed": [("a", None, None)]},
            id="without-a-version",
        ),
        pytest.param(
            lockfile(package("a")),
            lockfile(package("a", systems=LINUX[:1]), package("a", "2.0", systems=LINUX[1:], build=1)),
            {"changed": [("a", "1.0", "1.0 (amd64), 2.0 (arm64)")]},
            id="upgraded-on-one-platform",
        ),
        pytest.param(
            lockfile(package("a"), package("mac", systems=("aarch64-darwin",))),
            lockfile(package("a"), package("mac", "2.0", systems=("aarch64-darwin",))),
            {},
            id="no-container-is-a-mac",
        ),
        pytest.param(
            lockfile(package("a")),
            lockfile(package("a"), manifest={"vars": {"X": "1"}, "hook": {"on-activate": "echo"}}),
            {"manifest": ["vars", "hook"]},
            id="manifest",
        ),
    ],
)
def test_changes(before: Lockfile, after: Lockfile, found: Mapping[str, object]) -> None:
    assert changes(before, after) == {**NOTHING, **found}


def test_a_package_is_named_by_people() -> None:
    (found,) = packages_of(lockfile(package("a"))).values()
    assert found.to_json() == {"install_id": "a", "name": "a-name", "version": "1.0", "systems": list(LINUX)}

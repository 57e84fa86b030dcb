"""The packages of a lockfile as people think of them, and what is different between two lockfiles.

Belongs here: comparing, by install id. Only what containers get counts: the systems that are Linux.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flox_formats.locked_package import LockedPackage
from flox_formats.lockfile import Lockfile
from flox_formats.manifest import Manifest
from flox_formats.system import System


@dataclass(frozen=True, slots=True)
class Package:
    """One install id. `versions` and `paths` are by system; a version is None where the lockfile has none."""

    install_id: str
    name: str
    versions: Mapping[System, str | None]
    paths: Mapping[System, frozenset[str]]

    @property
    def version(self) -> str | None:
        """One text for all systems; where they differ, each with its platform."""
        different = set(self.versions.values())
        if len(different) == 1:
            return different.pop()
        return ", ".join(f"{version} ({system.oci_architecture})" for system, version in self.versions.items())

    def to_json(self) -> dict[str, object]:
        systems = [str(system) for system in self.versions]
        return {"install_id": self.install_id, "name": self.name, "version": self.version, "systems": systems}


@dataclass(frozen=True, slots=True)
class Changed:
    """A package that is in both, and not the same. `before` and `after` may be equal: rebuilt from other inputs."""

    install_id: str
    before: str | None
    after: str | None

    def to_json(self) -> dict[str, object]:
        return {"install_id": self.install_id, "from": self.before, "to": self.after}


@dataclass(frozen=True, slots=True)
class PackageChanges:
    """`manifest` names the sections of the manifest that differ, other than which packages are installed."""

    added: tuple[Package, ...]
    removed: tuple[Package, ...]
    changed: tuple[Changed, ...]
    manifest: tuple[str, ...]

    @classmethod
    def between(cls, before: Lockfile, after: Lockfile) -> "PackageChanges":
        old, new = packages_of(before), packages_of(after)
        both = [(old[key], new[key]) for key in new if key in old]
        return cls(
            added=tuple(new[key] for key in new if key not in old),
            removed=tuple(old[key] for key in old if key not in new),
            changed=tuple(
                Changed(ours.install_id, theirs.version, ours.version) for theirs, ours in both if _differ(theirs, ours)
            ),
            manifest=_sections(before.manifest, after.manifest),
        )

    def to_json(self) -> dict[str, object]:
        return {
            "added": [package.to_json() for package in self.added],
            "removed": [package.to_json() for package in self.removed],
            "changed": [package.to_json() for package in self.changed],
            "manifest": list(self.manifest),
        }


def packages_of(lockfile: Lockfile) -> dict[str, Package]:
    """By install id, in its order."""
    systems = lockfile.linux_systems()
    found: dict[str, dict[System, LockedPackage]] = {}
    for package in lockfile.packages:
        if package.system in systems:
            found.setdefault(package.install_id, {})[System(package.system)] = package
    return {install_id: _package(install_id, found[install_id]) for install_id in sorted(found)}


def _package(install_id: str, by_system: Mapping[System, LockedPackage]) -> Package:
    first = next(iter(by_system.values()))
    return Package(
        install_id,
        first.pname or first.name or first.attr_path or install_id,
        {system: package.version for system, package in by_system.items()},
        {system: _paths(package) for system, package in by_system.items()},
    )


def _paths(package: LockedPackage) -> frozenset[str]:
    paths = [package.store_path] if package.store_path is not None else [*package.outputs.values()]
    return frozenset(map(str, paths))


def _differ(before: Package, after: Package) -> bool:
    return before.version != after.version or before.paths != after.paths


def _sections(before: Manifest, after: Manifest) -> tuple[str, ...]:
    differs = {
        "vars": before.vars != after.vars,
        "hook": (before.hook_on_activate, before.hook_on_deactivate)
        != (after.hook_on_activate, after.hook_on_deactivate),
        "profile": (before.profile, before.profile_deactivate) != (after.profile, after.profile_deactivate),
        "services": before.has_services != after.has_services,
        "containerize": before.containerize != after.containerize,
        "options": (before.options_systems, before.activate_mode) != (after.options_systems, after.activate_mode),
    }
    return tuple(section for section, different in differs.items() if different)

"""`manifest.lock`: the store paths of one generation, for every system it was locked for.

Belongs here: the file as a whole, and which systems it serves. Its parts are in `manifest.py`, `locked_package.py`
and `outputs.py`. Source: FH §5. Of a composed environment only the merged manifest counts (FH §5.6).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from flox_formats.digest import Digest
from flox_formats.json_document import Fields, Json, read_object, shown
from flox_formats.locked_package import LockedPackage, PackageKind
from flox_formats.lockfile_errors import LockfileInvalid, LockfileVersionUnsupported, OutputUnknown, SystemNotServed
from flox_formats.manifest import ContainerizeConfig, InstallDescriptor, Manifest
from flox_formats.outputs import SelectedOutput, select_outputs
from flox_formats.system import System

__all__ = [
    "MAX_BYTES",
    "ContainerizeConfig",
    "InstallDescriptor",
    "LockedActivation",
    "LockedPackage",
    "Lockfile",
    "LockfileInvalid",
    "LockfileVersionUnsupported",
    "Manifest",
    "OutputUnknown",
    "PackageKind",
    "SelectedOutput",
    "SystemNotServed",
]

MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LockedActivation:
    """What of a lockfile decides about an activation: all that is left to ask of it once its packages are there.

    `digest` is the lockfile's. The text of the hook is in the linked environment.
    """

    digest: Digest
    vars: Mapping[str, str] = field(hash=False)
    has_hook: bool


@dataclass(frozen=True, slots=True)
class Lockfile:
    """`digest`, the sha256 of the bytes, is what a generation truly is; the rest is a view of them."""

    data: bytes = field(repr=False)
    digest: Digest
    manifest: Manifest
    packages: tuple[LockedPackage, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises LockfileInvalid and LockfileVersionUnsupported."""
        document = read_object(data, what="lockfile", max_bytes=MAX_BYTES, error=LockfileInvalid)
        _check_version(document)
        fields = Fields(document, where="lockfile", error=LockfileInvalid)
        manifest = Manifest.read(fields.member("manifest"))
        return cls(data, Digest.of(data), manifest, _packages(fields, manifest))

    @property
    def activation(self) -> LockedActivation:
        return LockedActivation(self.digest, self.manifest.vars, self.manifest.hook_on_activate is not None)

    def linux_systems(self) -> tuple[System, ...]:
        """The systems that a container of it can be, amd64 first. May be empty."""
        served = (system for system in System if self._serves(system))
        return tuple(sorted(served, key=lambda system: system.oci_architecture))

    def systems(self) -> tuple[str, ...]:
        """Every system that it names, those without containers too: what to tell someone who asked for another."""
        named = self._restricted_to()
        return tuple(sorted({package.system for package in self.packages} if named is None else named))

    def require(self, system: System) -> None:
        """Raises SystemNotServed when the environment cannot be had for `system`."""
        if not self._serves(system):
            raise SystemNotServed(
                f"the environment is not locked for {system}; it is for {', '.join(self.systems()) or 'no system'}: "
                f"add {system} to options.systems in its manifest, lock it and push it again"
            )

    def selected_outputs(self, system: System) -> tuple[SelectedOutput, ...]:
        """What to link for `system`, in file order. Raises SystemNotServed, OutputUnknown, LockfileInvalid."""
        self.require(system)
        return select_outputs(self.manifest, (package for package in self.packages if package.system == system))

    def _serves(self, system: System) -> bool:
        named = self._restricted_to()
        return named is None or system in named

    def _restricted_to(self) -> frozenset[str] | None:
        """The only systems it can be had for; None when nothing restricts it (FH §5.5).

        Without `options.systems`, a package that should be there on every system tells which ones were locked.
        """
        if self.manifest.options_systems is not None:
            return frozenset(self.manifest.options_systems)
        locked = frozenset(package.system for package in self.packages if self._is_for_every_system(package))
        return locked or None

    def _is_for_every_system(self, package: LockedPackage) -> bool:
        descriptor = self.manifest.install[package.install_id]
        return descriptor.pkg_path is not None and descriptor.systems is None


def _check_version(document: Json) -> None:
    version = document.get("lockfile-version")
    if version is None:
        raise LockfileInvalid("lockfile: 'lockfile-version' is missing; want a manifest.lock as Flox writes it")
    if type(version) is not int or version != 1:
        raise LockfileVersionUnsupported(
            f"lockfile: lockfile-version {shown(version)} is not supported, only 1 is; "
            "lock the environment again with a current Flox, or update floxbridge"
        )


def _packages(fields: Fields, manifest: Manifest) -> tuple[LockedPackage, ...]:
    entries = fields.get("packages")
    if not isinstance(entries, list):
        raise fields.refuse("packages", "is not an array")
    return tuple(_package(entry, f"lockfile.packages[{n}]", manifest) for n, entry in enumerate(entries))


def _package(entry: object, where: str, manifest: Manifest) -> LockedPackage:
    if not isinstance(entry, dict):
        raise LockfileInvalid(f"{where} is not an object")
    package = LockedPackage.read(entry, where=where)
    if package.install_id not in manifest.install:
        raise LockfileInvalid(
            f"lockfile: package {package.install_id[:100]!r} is not in the manifest's [install]; lock it again"
        )
    return package

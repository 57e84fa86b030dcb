"""The files of a generation, as `flox push` would send them: manifest.toml and manifest.lock.

Belongs here: their text, for packages that only this machine's own cache has. Source: FH §5.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flox_formats.system import System
from floxbridge_demo.packages import Package

_SCHEMA_VERSION = "1.10.0"
_PRIORITY = 5
_CATALOG = "https://floxbridge.invalid/demo?rev=" + "0" * 40  # .invalid: nobody else has these packages


@dataclass(frozen=True, slots=True)
class GenerationFiles:
    manifest: Path
    lock: Path


@dataclass(frozen=True, slots=True)
class Generation:
    """What its author wishes. `command` is what a container runs that is told nothing else, `hook` is on-activate's."""

    system: System
    packages: tuple[Package, ...]
    command: str
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    hook: str | None = None

    def write(self, folder: Path) -> GenerationFiles:
        """Writes both files into `folder`, which is made."""
        folder.mkdir(parents=True)
        files = GenerationFiles(folder / "manifest.toml", folder / "manifest.lock")
        files.manifest.write_text(self._manifest_toml())
        files.lock.write_text(json.dumps(self._lock(), indent=2) + "\n")
        return files

    def _manifest_toml(self) -> str:
        sections = {
            "install": {f"{package.name}.pkg-path": package.name for package in self.packages},
            "vars": self.variables,
            "hook": self._hook,
            "options": {"systems": [self.system]},
            "containerize.config": {"cmd": [self.command]},
        }
        tables = "".join(f"\n[{name}]\n{_keys(values)}" for name, values in sections.items() if values)
        return f"schema-version = {json.dumps(_SCHEMA_VERSION)}\n{tables}"

    def _lock(self) -> dict[str, object]:
        manifest = {
            "schema-version": _SCHEMA_VERSION,
            "install": {package.name: {"pkg-path": package.name} for package in self.packages},
            "vars": dict(self.variables),
            **({"hook": self._hook} if self._hook else {}),
            "options": {"systems": [self.system]},
            "containerize": {"config": {"cmd": [self.command]}},
        }
        packages = [_locked(package, self.system) for package in self.packages]
        return {"lockfile-version": 1, "manifest": manifest, "packages": packages}

    @property
    def _hook(self) -> dict[str, str]:
        return {} if self.hook is None else {"on-activate": self.hook}


def _locked(package: Package, system: System) -> dict[str, object]:
    """A package of a catalog, with the fields that real lockfiles have."""
    return {
        "attr_path": package.name,
        "broken": False,
        "description": package.description,
        "install_id": package.name,
        "license": "Apache-2.0",
        "locked_url": _CATALOG,
        "name": f"{package.name}-{package.version}",
        "pname": package.name,
        "unfree": False,
        "version": package.version,
        "outputs_to_install": ["out"],
        "outputs": {"out": str(package.path)},
        "system": system,
        "group": "toplevel",
        "priority": _PRIORITY,
    }


def _keys(values: Mapping[str, object]) -> str:
    """JSON's strings and arrays are TOML's."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())

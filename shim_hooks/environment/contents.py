"""What lies in a linked environment that decides about its activation.

Belongs here: looking. What follows is `activation.py`'s.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from flox_formats.scripted_activation import BASH, is_bash
from flox_formats.store_path import StorePath
from shim_hooks.environment.tree import Kind, Place, Tree, resolve

CA_BUNDLE = "etc/ssl/certs/ca-bundle.crt"
"""Where nixpkgs' cacert has it, below the environment."""

PROFILE_SCRIPTS = "etc/profile.d"
_PYTHON = re.compile(r"python([0-9]+\.[0-9]+)")


@dataclass(frozen=True, slots=True)
class EnvironmentContents:
    """Of both modes. `bash` is the shell to activate with, absolute; None where the closure has none."""

    has_ca_bundle: bool = False
    has_profile_scripts: bool = False
    bash: str | None = None

    @classmethod
    def look(cls, tree: Tree, env_path: StorePath, closure: Iterable[StorePath]) -> Self:
        return cls(
            has_ca_bundle=_is(tree, f"{env_path}/{CA_BUNDLE}", Kind.FILE),
            has_profile_scripts=_has_profile_scripts(tree, env_path),
            bash=_bash(tree, env_path, closure),
        )


@dataclass(frozen=True, slots=True)
class DevelopmentContents:
    """What `dev` looks for besides. `python` is the version whose packages are found, as `3.12`."""

    has_rust_source: bool = False
    has_jupyter: bool = False
    has_java: bool = False
    has_cmake: bool = False
    python: str | None = None

    @classmethod
    def look(cls, tree: Tree, env_path: StorePath) -> Self:
        return cls(
            has_rust_source=_is_there(tree, f"{env_path}/rustc-std-workspace-std"),
            has_jupyter=_is(tree, f"{env_path}/share/jupyter", Kind.DIRECTORY),
            has_java=_is(tree, f"{env_path}/bin/java", Kind.FILE),
            has_cmake=_is(tree, f"{env_path}/bin/cmake", Kind.FILE),
            python=_python(tree, env_path),
        )


def _is_there(tree: Tree, path: str) -> bool:
    place = resolve(tree, path)
    return place is not None and place.kind is not None


def _is(tree: Tree, path: str, kind: Kind) -> bool:
    place = resolve(tree, path)
    return place is not None and place.kind is kind


def _file(tree: Tree, path: str) -> Place | None:
    place = resolve(tree, path)
    return place if place is not None and place.kind is Kind.FILE else None


def _has_profile_scripts(tree: Tree, env_path: StorePath) -> bool:
    place = resolve(tree, f"{env_path}/{PROFILE_SCRIPTS}")
    if place is None or place.kind is not Kind.DIRECTORY:
        return False
    return any(name.endswith(".sh") and not name.startswith(".") for name in tree.entries(place.path))


def _bash(tree: Tree, env_path: StorePath, closure: Iterable[StorePath]) -> str | None:
    """The one that is installed, else one that something installed refers to, else what the registry added."""
    candidates = [env_path, *sorted(path for path in closure if is_bash(path))]
    found = (_file(tree, f"{path}/{BASH}") for path in candidates)
    return next((place.path for place in found if place is not None), None)


def _python(tree: Tree, env_path: StorePath) -> str | None:
    """Flox asks the interpreter itself. Here its file's name tells, which nixpkgs gives it; where that is a wrapper's,
    as in `python3.withPackages`, the one version that has a folder for packages."""
    place = _file(tree, f"{env_path}/bin/python3")
    if place is None:
        return None
    names = [place.path.rpartition("/")[2]]
    if _PYTHON.fullmatch(names[0]) is None:
        lib = resolve(tree, f"{env_path}/lib")
        names = [] if lib is None or lib.kind is not Kind.DIRECTORY else list(tree.entries(lib.path))
    versions = [match.group(1) for match in map(_PYTHON.fullmatch, names) if match is not None]
    return versions[0] if len(versions) == 1 else None

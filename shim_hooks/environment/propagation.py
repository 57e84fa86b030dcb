"""Packages that packages bring along: what a store path's own files say belongs beside it (FH §6.1, end).

Belongs here: reading those files, and the order in which Flox goes through what they name. Linking is `link.py`'s.
"""

import re

from flox_formats.store_path import StorePath, StorePathInvalid
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.tree import Kind, Tree, resolve
from shim_hooks.errors import ContentRejected


def propagated(tree: Tree, package: StorePath, mode: Mode) -> list[StorePath]:
    """The packages that `package` names. Only the first line of each of its files counts."""
    found: list[StorePath] = []
    if mode is Mode.DEV:
        # A `stubs` output stands in for a library while linking; in an environment it would shadow the real one.
        inputs = _listed(tree, package, "propagated-build-inputs")
        found += [path for path in inputs if not path.name.endswith("-stubs")]
    return found + _listed(tree, package, "propagated-user-env-packages")


def package_order(path: StorePath) -> tuple[str, str, StorePath]:
    """By name, then by version, which is what follows the first dash before a digit."""
    name, _, rest = re.sub(r"-(?=[0-9])", "\0", path.name).partition("\0")
    return name, rest.partition("\0")[0], path


def _listed(tree: Tree, package: StorePath, name: str) -> list[StorePath]:
    place = resolve(tree, f"{package}/nix-support/{name}")
    if place is None or place.kind is not Kind.FILE:
        return []
    try:
        return [StorePath.parse(word) for word in tree.first_line(place.path).split()]
    except StorePathInvalid as problem:
        raise ContentRejected(f"{package}/nix-support/{name}: {problem}") from problem

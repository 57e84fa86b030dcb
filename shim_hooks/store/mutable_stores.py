"""What containers with `flox.dev/nix-mutable` write into their own /nix/store: a folder for each, gone with it.

Belongs here: making and removing the folders. Mounting them over the node's store is the runtime's, as
`bundle/edits.py` tells it. Source: https://docs.kernel.org/filesystems/overlayfs.html
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from shim_hooks.errors import NotSupported
from shim_hooks.store.disk import disk_errors, remove_tree

_SEPARATORS = frozenset(",:\\")  # of a mount's options, and of overlayfs within one of them


@dataclass(frozen=True, slots=True)
class MutableStore:
    """The two folders that overlayfs wants, on one file system."""

    upper: Path
    work: Path


class MutableStores:
    """`<container id>/upper` and `/work` in `folder`, which is made when it is needed. Its methods block.

    Raises StoreFailed, and NotSupported for a state directory that cannot be named in a mount.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, container_id: str, owner: tuple[int, int]) -> MutableStore:
        """An empty one, whatever a create before left; new store paths can be made by uid and gid `owner`."""
        if _SEPARATORS & set(str(self._folder)):
            raise NotSupported(
                f"a private store cannot be mounted from {self._folder}, whose name has a comma, colon or backslash: "
                "give floxbridge-node another state directory"
            )
        self.remove(container_id)
        place = self._folder / container_id
        store = MutableStore(place / "upper", place / "work")
        with disk_errors(f"making a private store for container {container_id}", self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (place, store.upper, store.work):
                folder.mkdir()
            store.upper.chmod(0o755)  # whatever our umask: the container sees it as its /nix/store
            os.chown(store.upper, *owner)
        return store

    def remove(self, container_id: str) -> None:
        """One that is not there is removed already."""
        with disk_errors(f"removing the private store of container {container_id}", self._folder):
            remove_tree(self._folder / container_id)

    def sweep(self, in_use: Callable[[], Collection[str]]) -> None:
        """Removes those of containers that are not `in_use`, which is asked last: a lease is older than its store."""
        with disk_errors("listing the private stores", self._folder):
            names = [entry.name for entry in self._folder.iterdir()] if self._folder.is_dir() else []
        used = in_use() if names else ()
        for name in names:
            if name not in used:
                self.remove(name)

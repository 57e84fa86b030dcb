"""What a container's /nix/store is made of beside the node's own: a folder for each container, gone with it.

Belongs here: making and removing the folders. Laying them over each other is the runtime's, as `bundle/edits.py` tells
it. Source: https://docs.kernel.org/filesystems/overlayfs.html
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from shim_hooks.errors import NotSupported
from shim_hooks.store.disk import disk_errors, remove_tree

_SEPARATORS = frozenset(",:\\")  # of a mount's options, and of overlayfs within one of them


def refuse_as_layer(folder: Path, mend: str) -> None:
    """Raises NotSupported for a folder that cannot be named in an overlay's mount."""
    if _SEPARATORS & set(str(folder)):
        raise NotSupported(
            f"a container's store cannot be mounted from {folder}, whose name has a comma, colon or backslash: {mend}"
        )


@dataclass(frozen=True, slots=True)
class MutableStore:
    """What a container with `flox.dev/nix-mutable` writes, as the two folders that overlayfs wants."""

    upper: Path
    work: Path


class ContainerStores:
    """`<container id>/upper`, `/work` and `/hidden` in `folder`, which is made when it is needed. Its methods block.

    Raises StoreFailed, and NotSupported for a state directory that cannot be named in a mount.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make_mutable(self, container_id: str, owner: tuple[int, int]) -> MutableStore:
        """An empty one, whatever a create before left; new store paths can be made by uid and gid `owner`."""
        store = MutableStore(self._fresh(container_id, "upper"), self._fresh(container_id, "work"))
        with disk_errors(f"making a store of its own for container {container_id}", self._folder):
            store.upper.chmod(0o755)  # whatever our umask: the container sees it as its /nix/store
            os.chown(store.upper, *owner)
        return store

    def hide(self, container_id: str, names: Iterable[str]) -> Path:
        """A layer below which nothing is seen of these names: for each a whiteout, which ends overlayfs's search.

        Without one, a folder of the image would be merged into the folder of the same name above it.
        """
        hidden = self._fresh(container_id, "hidden")
        with disk_errors(f"hiding what the image of container {container_id} has itself", self._folder):
            for name in names:
                os.mknod(hidden / name, stat.S_IFCHR, os.makedev(0, 0))
        return hidden

    def remove(self, container_id: str) -> None:
        """One that is not there is removed already."""
        with disk_errors(f"removing the store of container {container_id}", self._folder):
            remove_tree(self._folder / container_id)

    def sweep(self, in_use: Callable[[], Collection[str]]) -> None:
        """Removes those of containers that are not `in_use`, which is asked last: a lease is older than its store."""
        with disk_errors("listing the stores of containers", self._folder):
            names = [entry.name for entry in self._folder.iterdir()] if self._folder.is_dir() else []
        used = in_use() if names else ()
        for name in names:
            if name not in used:
                self.remove(name)

    def _fresh(self, container_id: str, name: str) -> Path:
        refuse_as_layer(self._folder, "give floxbridge-node another state directory")
        folder = self._folder / container_id / name
        with disk_errors(f"making a store for container {container_id}", self._folder):
            remove_tree(folder)
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(parents=True)
        return folder

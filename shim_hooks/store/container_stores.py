"""What a container's /nix/store is made of beside the node's own: a folder for each container, gone with it.

Belongs here: making and removing the folders. Laying them over each other is the runtime's, as `bundle/edits.py` tells
it. Source: https://docs.kernel.org/filesystems/overlayfs.html
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from shim_hooks.errors import NotSupported, StoreFailed
from shim_hooks.store.disk import TEMPORARY, disk_errors
from shim_hooks.store.removal import remove_tree
from shim_hooks.store.store_lock import StoreLock

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
    """`<container's key>/upper`, `/work` and `/hidden` in `folder` of the state directory, made when it is needed.

    What is to go is first moved aside, to a name that no container has: how long its removal takes, containers decide
    that wrote it. Its methods block. Raises StoreFailed, and NotSupported for a state directory that cannot be named in
    a mount.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = StoreLock(folder.parent)
        self._numbers = count(int.from_bytes(os.urandom(6)))

    def make_mutable(self, container_id: str, owner: tuple[int, int]) -> MutableStore:
        """An empty one, whatever a create before left; uid and gid `owner` of the node can make store paths in it."""
        store = MutableStore(self._fresh(container_id, "upper"), self._fresh(container_id, "work"))
        with disk_errors(f"making a store of its own for container {container_id}", self._folder):
            store.upper.chmod(0o755)  # whatever our umask: the container sees it as its /nix/store
            for layer in (store.upper, store.work):  # a user namespace's root mounts them, who is nobody here
                os.chown(layer, *owner)
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

    def sweep(self, in_use: Callable[[], Collection[str]]) -> None:
        """Removes those of containers that are not `in_use`, as a lease tells, which is older than its store.

        With the store's lock, so that a container whose id was used before takes its lease before this, or makes its
        store after it. One that cannot be removed keeps nobody else's: the error comes when all were tried.
        """
        with disk_errors("listing the stores of containers", self._folder):
            names = [entry.name for entry in self._folder.iterdir()] if self._folder.is_dir() else []
        if not names:
            return
        with self._lock.exclusive():
            used = in_use()
            gone = [self._set_aside(name) for name in names if name not in used]
        failures = [failure for place in gone if (failure := self._remove(place)) is not None]
        if failures:
            more = f" {len(failures) - 1} more cannot be removed." if failures[1:] else ""
            raise StoreFailed(f"{failures[0]}.{more}") from failures[0]

    def _remove(self, place: Path) -> StoreFailed | None:
        try:
            with disk_errors(f"removing {place.name}, of a container that is gone", self._folder):
                remove_tree(place)
        except StoreFailed as failure:
            return failure
        return None

    def _set_aside(self, name: str) -> Path:
        """Out of the way of a container with this name, in one step. Gives where it is then."""
        if name.startswith(TEMPORARY):
            return self._folder / name
        aside = self._aside(name)
        with disk_errors(f"moving the store of container {name} aside", self._folder), suppress(FileNotFoundError):
            (self._folder / name).rename(aside)
        return aside

    def _aside(self, name: str) -> Path:
        return self._folder / f"{TEMPORARY}{os.getpid()}-{next(self._numbers)}-{name[:100]}"

    def _fresh(self, container_id: str, name: str) -> Path:
        refuse_as_layer(self._folder, "give floxbridge-node another state directory")
        folder = self._folder / container_id / name
        with disk_errors(f"making a store for container {container_id}", self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                folder.rename(self._aside(container_id))
            folder.mkdir(parents=True)
            for passage in (self._folder, folder.parent):  # not for looking into: whoever mounts comes through
                passage.chmod(0o711)
        return folder

"""Where the paths of an environment lie: the folders that its containers see at /nix/store, laid over each other.

Belongs here: finding paths in them. Does not: what may lie in which (`environment/closure_fetch.py`), or how something
comes to be there (`node_store.py`).

What everybody may see lies in `store/`, and a public environment has no other folder. What only the containers of one
environment may see lies in a folder of that environment, below `private/`, which nobody else is given.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flox_formats.store_path import StorePath
from shim_hooks.store.disk import disk_errors
from shim_hooks.store.store_tree import StoreTree

SHARED, PRIVATE = "store", "private"
"""In the state directory."""


@dataclass(frozen=True, slots=True)
class StoreFolders:
    """The first lies above the next. `shared`, the last one, every container sees; `own` is the first.

    Methods block. Raises StoreFailed.
    """

    folders: tuple[Path, ...]

    @property
    def own(self) -> Path:
        return self.folders[0]

    @property
    def shared(self) -> Path:
        return self.folders[-1]

    @property
    def is_private(self) -> bool:
        """Whether there is a folder that other environments' containers do not see."""
        return len(self.folders) > 1

    @property
    def tree(self) -> StoreTree:
        return StoreTree(*self.folders)

    def path_of(self, path: StorePath) -> Path:
        """Where `path` lies on the node, as a container finds it; if it is nowhere, where it may be put."""
        return next(iter(self.places_of(path)), self.own / path.base_name)

    def places_of(self, path: StorePath) -> tuple[Path, ...]:
        """Wherever it lies: in two folders where an environment that is public by now has brought it, too."""
        places = (folder / path.base_name for folder in self.folders)
        return tuple(place for place in places if os.path.lexists(place))

    def has(self, path: StorePath) -> bool:
        return not self.missing([path])

    def missing(self, paths: Iterable[StorePath]) -> list[StorePath]:
        """In the order of `paths`, hundreds of them often, and before a container starts."""
        left = list(paths)
        for folder in reversed(self.folders):
            left = [path for path in left if not os.path.lexists(f"{folder}/{path.base_name}")]
        return left

    def narrowed(self, paths: Iterable[StorePath]) -> "StoreFolders | None":
        """As few of the folders as have all of these, `shared` alone if it can be; None where something is missing.

        Of these, no folder goes while the paths stay, because none is empty.
        """
        shared = StoreFolders((self.shared,))
        left = shared.missing(paths)
        if not left:
            return shared
        return self if self.is_private and not StoreFolders((self.own,)).missing(left) else None

    def changed_ns(self) -> tuple[int, ...] | None:
        """When an entry of each last came or went, in the file system's own time; None where a folder is gone."""
        with disk_errors("looking at the node store", self.shared):
            try:
                return tuple(folder.stat().st_mtime_ns for folder in self.folders)
            except FileNotFoundError:
                return None


def private_folders(root: Path) -> list[Path]:
    """Of the environments that have one in the state directory `root`. Raises StoreFailed."""
    with disk_errors("listing the store folders of private environments", root):
        return sorted((root / PRIVATE).iterdir()) if (root / PRIVATE).is_dir() else []

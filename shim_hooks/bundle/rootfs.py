"""What a container's root filesystem has, as far as the edits must know.

Belongs here: looking, without following a symlink of the container's: it may lead to anywhere on the node.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flox_formats.store_path import STORE_DIR
from shim_hooks.bundle.spec import Spec
from shim_hooks.errors import BundleInvalid


@dataclass(frozen=True, slots=True)
class Rootfs:
    """`own_store` is the folder of the store paths that the image brings itself; None where it brings none.

    No symlink leads there, nor can one be put there before the container runs: nobody else has its root filesystem.
    """

    has_tmp: bool
    own_store: Path | None

    @classmethod
    def look(cls, bundle: Path, spec: Spec) -> Self:
        """Raises BundleInvalid when the root filesystem is not there."""
        path = bundle / spec.rootfs
        try:
            root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                has_store = _has_entries(STORE_DIR, root)
                return cls(_exists("tmp", root), path / STORE_DIR.lstrip("/") if has_store else None)
            finally:
                os.close(root)
        except OSError as problem:
            raise BundleInvalid(f"the container's root filesystem {path}: {problem.strerror}") from problem

    def among_its_own(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which of these names the image's own store has, too. Blocks. Raises BundleInvalid."""
        if self.own_store is None:
            return ()
        try:
            store = os.open(self.own_store, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                return tuple(name for name in names if _exists(name, store))
            finally:
                os.close(store)
        except OSError as problem:
            raise BundleInvalid(f"the store of the container's image {self.own_store}: {problem.strerror}") from problem


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _has_entries(path: str, root: int) -> bool:
    """Whether `path` below `root` is a folder, reached through folders only, that is not empty."""
    at = os.dup(root)
    try:
        for part in path.strip("/").split("/"):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                below = os.open(part, flags, dir_fd=at)
            except (FileNotFoundError, NotADirectoryError):
                return False
            os.close(at)
            at = below
        with os.scandir(at) as entries:
            return next(entries, None) is not None
    finally:
        os.close(at)

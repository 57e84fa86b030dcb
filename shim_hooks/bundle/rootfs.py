"""What a container's root filesystem has, as far as the edits must know.

Belongs here: looking, without following a symlink of the container's: it may lead to anywhere on the node.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flox_formats.store_path import STORE_DIR
from shim_hooks.bundle.spec import Spec
from shim_hooks.errors import BundleInvalid


@dataclass(frozen=True, slots=True)
class Rootfs:
    """`has_store`: the image brings store paths of its own, which the node's store would hide."""

    has_tmp: bool
    has_store: bool

    @classmethod
    def look(cls, bundle: Path, spec: Spec) -> Self:
        """Raises BundleInvalid when the root filesystem is not there."""
        path = bundle / spec.rootfs
        try:
            root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return cls(has_tmp=_exists("tmp", root), has_store=_has_entries(STORE_DIR, root))
            finally:
                os.close(root)
        except OSError as problem:
            raise BundleInvalid(f"the container's root filesystem {path}: {problem.strerror}") from problem


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

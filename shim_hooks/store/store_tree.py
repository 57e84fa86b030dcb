"""The node's store, looked at as a container will see it at `/nix/store`.

Belongs here: turning container paths into node paths, and reading there. Following symlinks is `environment/tree.py`'s,
because the kernel would follow them on the node, where `/nix/store` is something else or nothing.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from flox_formats.store_path import STORE_DIR
from shim_hooks.environment.tree import Kind
from shim_hooks.errors import StoreFailed

_MAX_LINE_BYTES = 1 << 20


class StoreTree:
    """A `Tree` over the `folders` that are laid over each other, the first above the next.

    Raises StoreFailed when the disk cannot be read.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = tuple(map(os.fspath, folders))

    def kind(self, path: str) -> Kind | None:
        try:
            mode = os.lstat(self._on_node(path)).st_mode
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise _failed(path, problem) from problem
        return Kind.SYMLINK if stat.S_ISLNK(mode) else Kind.DIRECTORY if stat.S_ISDIR(mode) else Kind.FILE

    def entries(self, directory: str) -> Mapping[str, Kind]:
        try:
            with os.scandir(self._on_node(directory)) as found:
                return {entry.name: _kind(entry) for entry in found}
        except OSError as problem:
            raise _failed(directory, problem) from problem

    def readlink(self, path: str) -> str:
        try:
            return os.readlink(self._on_node(path))  # noqa: PTH115 - text in, text out, as a link is spelled
        except OSError as problem:
            raise _failed(path, problem) from problem

    def first_line(self, path: str) -> str:
        try:
            with Path(self._on_node(path)).open("rb") as file:
                return file.readline(_MAX_LINE_BYTES).rstrip(b"\n").decode("utf-8", "replace")
        except OSError as problem:
            raise _failed(path, problem) from problem

    def _on_node(self, path: str) -> str:
        """A store path that lies in several folders is the same in each."""
        below = path.removeprefix(STORE_DIR)
        entry = "/".join(below.split("/", 2)[:2])
        above = (folder for folder in self._folders[:-1] if os.path.lexists(folder + entry))
        return next(above, self._folders[-1]) + below


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return Kind.SYMLINK
    return Kind.DIRECTORY if entry.is_dir(follow_symlinks=False) else Kind.FILE


def _failed(path: str, problem: OSError) -> StoreFailed:
    return StoreFailed(f"{path} on this node cannot be read: {problem.strerror}. Look at the disk and its mount")

"""What lies below `/nix/store`, as a container will see it, and where a path in there really leads.

Belongs here: the view itself and following symlinks inside it. Does not: the disk (`store/store_tree.py`), nor what an
environment links (`link.py`). Paths are absolute texts below `/nix/store`; a name that is no UTF-8 has surrogate
escapes, as Python's own file functions have it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from flox_formats.store_path import STORE_DIR

_STORE_PARTS = STORE_DIR.strip("/").split("/")

MAX_LINKS = 40
"""As many symlinks as the kernel follows in one path (path_resolution(7)); more is a loop."""


class Kind(Enum):
    DIRECTORY = "directory"
    FILE = "file"
    SYMLINK = "symlink"


class Tree(Protocol):
    """Looks at one place and follows nothing: every parent in `path` is a real directory."""

    def kind(self, path: str) -> Kind | None: ...

    def entries(self, directory: str) -> Mapping[str, Kind]: ...

    def readlink(self, path: str) -> str: ...

    def first_line(self, path: str) -> str:
        """Of a file; without its end. A line longer than any real one is cut."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads once every symlink is followed. `kind` is None where nothing can be known to be.

    `links` are the symlinks followed so far, so that a walk which goes on from here still ends in a loop.
    """

    path: str
    kind: Kind | None
    links: int = 0


def resolve(tree: Tree, path: str, *, links: int = 0) -> Place | None:
    """Follows `path`, and looks nowhere but into the store: its content is all that a node knows of the container.

    A path that leaves the store ends where it leaves, with no kind. So does one to the store as a whole, which
    differs from node to node. None where it cannot be followed: a directory on the way is missing, or it is a loop.
    """
    real: list[str] = []
    todo = _parts(path)
    kind: Kind | None = Kind.DIRECTORY
    while todo:
        if kind is not Kind.DIRECTORY:
            return None
        part = todo.pop()
        if part == "..":
            del real[-1:]
            continue
        if len(real) < len(_STORE_PARTS):
            if part != _STORE_PARTS[len(real)]:
                return Place("/" + "/".join([*real, part, *reversed(todo)]), None, links)
            real.append(part)
            continue
        here = "/" + "/".join([*real, part])
        kind = tree.kind(here)
        if kind is not Kind.SYMLINK:
            real.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        target = tree.readlink(here)
        if target.startswith("/"):
            real = []
        todo += _parts(target)
        kind = Kind.DIRECTORY
    return Place("/" + "/".join(real), kind if len(real) > len(_STORE_PARTS) else None, links)


def _parts(path: str) -> list[str]:
    """The parts still to walk, the next one last; empty ones and `.` lead nowhere else."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]

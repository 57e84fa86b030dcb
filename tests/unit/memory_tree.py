"""A store in memory: an honest `Tree` for tables. `test_store_tree.py` holds it against the real one.

A package is nested dicts; a text is a file's contents, `Link("…")` a symlink.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flox_formats.store_path import STORE_DIR
from shim_hooks.environment.tree import Kind


@dataclass(frozen=True, slots=True)
class Link:
    target: str


Node = str | Link | Mapping[str, "Node"]


class MemoryTree:
    """`packages` by base name, as they would lie in /nix/store."""

    def __init__(self, packages: Mapping[str, Node]) -> None:
        self._root = packages

    def kind(self, path: str) -> Kind | None:
        node = self._find(path)
        return None if node is None else _kind(node)

    def entries(self, directory: str) -> Mapping[str, Kind]:
        node = self._find(directory)
        assert isinstance(node, Mapping)
        return {name: _kind(child) for name, child in node.items()}

    def readlink(self, path: str) -> str:
        node = self._find(path)
        assert isinstance(node, Link)
        return node.target

    def first_line(self, path: str) -> str:
        node = self._find(path)
        assert isinstance(node, str)
        return node.partition("\n")[0]

    def _find(self, path: str) -> Node | None:
        node: Node | None = self._root
        for part in path.removeprefix(STORE_DIR).split("/")[1:]:
            if not isinstance(node, Mapping):
                return None
            node = node.get(part)
        return node


def write_node(target: Path, node: Node) -> None:
    """The same on a disk."""
    if isinstance(node, str):
        target.write_text(node)
    elif isinstance(node, Link):
        target.symlink_to(node.target)
    else:
        target.mkdir()
        for name, child in node.items():
            write_node(target / name, child)


def _kind(node: Node) -> Kind:
    if isinstance(node, str):
        return Kind.FILE
    return Kind.SYMLINK if isinstance(node, Link) else Kind.DIRECTORY

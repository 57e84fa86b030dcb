"""The tree in memory and the one on the disk say the same."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from shim_hooks.environment.tree import Kind, Tree, resolve
from shim_hooks.errors import StoreFailed
from shim_hooks.store.store_tree import StoreTree
from tests.unit.memory_tree import Link, MemoryTree, Node, write_node

PACKAGES: Mapping[str, Node] = {
    "a": {"bin": {"x": "first\nsecond\n", "empty": ""}, "lib": Link("/nix/store/b/lib"), "gone": Link("nothing")},
    "b": {"lib": {"l": "one line"}, "dir": {}},
    "file": "",
    "whole": Link("a"),
}


@pytest.fixture(params=["memory", "disk"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    if request.param == "memory":
        return MemoryTree(PACKAGES)
    write_node(tmp_path / "store", PACKAGES)
    return StoreTree(tmp_path / "store")


def test_kinds(tree: Tree) -> None:
    found = {
        path: tree.kind(f"/nix/store/{path}") for path in ("a", "a/bin/x", "a/lib", "a/gone", "file", "a/none", "c")
    }
    assert found == {
        "a": Kind.DIRECTORY,
        "a/bin/x": Kind.FILE,
        "a/lib": Kind.SYMLINK,
        "a/gone": Kind.SYMLINK,
        "file": Kind.FILE,
        "a/none": None,
        "c": None,
    }


def test_entries_links_and_lines(tree: Tree) -> None:
    assert tree.entries("/nix/store/a") == {"bin": Kind.DIRECTORY, "lib": Kind.SYMLINK, "gone": Kind.SYMLINK}
    assert tree.entries("/nix/store/b/dir") == {}
    assert tree.readlink("/nix/store/a/lib") == "/nix/store/b/lib"
    assert tree.first_line("/nix/store/a/bin/x") == "first"
    assert tree.first_line("/nix/store/a/bin/empty") == ""
    assert tree.first_line("/nix/store/b/lib/l") == "one line"


def test_links_stay_in_the_node_store(tree: Tree) -> None:
    place = resolve(tree, "/nix/store/whole/lib/l")
    assert place is not None
    assert (place.path, place.kind) == ("/nix/store/b/lib/l", Kind.FILE)


def test_unreadable_is_the_nodes_fault(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="/nix/store/a on this node cannot be read"):
        StoreTree(tmp_path / "none").entries("/nix/store/a")

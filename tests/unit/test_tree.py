"""Following symlinks inside the store, and never out of it."""

from collections.abc import Mapping

import pytest

from shim_hooks.environment.tree import MAX_LINKS, Kind, Place, resolve
from tests.unit.memory_tree import Link, MemoryTree, Node

CHAIN: Mapping[str, Node] = {f"chain{n}": Link(f"chain{n + 1}") for n in range(MAX_LINKS + 1)}
TREE = MemoryTree(
    {
        "a": {
            "bin": {"x": "", "same": Link("x"), "far": Link("/nix/store/b/lib/l")},
            "lib": Link("../b/lib"),
            "up": Link("../../../nix/store/b/lib"),
            "etc": Link("/etc/hosts"),
            "out": Link("../../../etc/hosts"),
            "root": Link("/"),
            "store": Link(".."),
            "self": Link("self"),
            "here": Link("."),
            "gone": Link("nothing"),
            "lost": Link("nothing/at/all"),
            "through": Link("bin/x/y"),
        },
        "b": {"lib": {"l": ""}},
        "whole": Link("a"),
        **CHAIN,
    }
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("a/bin/x", Place("/nix/store/a/bin/x", Kind.FILE), id="file"),
        pytest.param("a/bin", Place("/nix/store/a/bin", Kind.DIRECTORY), id="directory"),
        pytest.param("a/bin/same", Place("/nix/store/a/bin/x", Kind.FILE, 1), id="relative-link"),
        pytest.param("a/bin/far", Place("/nix/store/b/lib/l", Kind.FILE, 1), id="absolute-link"),
        pytest.param("a/lib/l", Place("/nix/store/b/lib/l", Kind.FILE, 1), id="through-a-linked-directory"),
        pytest.param("a/up/l", Place("/nix/store/b/lib/l", Kind.FILE, 1), id="up-and-down-again"),
        pytest.param("whole/lib/l", Place("/nix/store/b/lib/l", Kind.FILE, 2), id="store-path-is-a-link"),
        pytest.param("a/here/here/bin/x", Place("/nix/store/a/bin/x", Kind.FILE, 2), id="dot"),
        pytest.param("a/gone", Place("/nix/store/a/nothing", None, 1), id="dangling"),
        pytest.param("a/nothing", Place("/nix/store/a/nothing", None), id="missing"),
        pytest.param("a/etc", Place("/etc/hosts", None, 1), id="leaves-absolute"),
        pytest.param("a/out", Place("/etc/hosts", None, 1), id="leaves-relative"),
        pytest.param("a/root", Place("/", None, 1), id="root"),
        pytest.param("a/store", Place("/nix/store", None, 1), id="the-store-itself"),
        pytest.param("a/lost", None, id="missing-directory"),
        pytest.param("a/through", None, id="through-a-file"),
        pytest.param("a/self", None, id="loop"),
        pytest.param("chain0", None, id="too-many-links"),
    ],
)
def test_resolves(path: str, expected: Place | None) -> None:
    assert resolve(TREE, f"/nix/store/{path}") == expected


def test_links_already_followed_count() -> None:
    assert resolve(TREE, "/nix/store/a/here", links=MAX_LINKS - 1) == Place("/nix/store/a", Kind.DIRECTORY, MAX_LINKS)
    assert resolve(TREE, "/nix/store/a/here", links=MAX_LINKS) is None

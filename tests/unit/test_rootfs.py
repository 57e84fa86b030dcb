"""What a root filesystem has, looked at without leaving it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shim_hooks.bundle.rootfs import Rootfs
from shim_hooks.bundle.spec import Spec
from shim_hooks.errors import BundleInvalid


def spec(path: str = "rootfs") -> Spec:
    return Spec.parse(json.dumps({"process": {}, "root": {"path": path}}).encode())


def _store(root: Path, *, via: str = "nix") -> Path:
    (root / via / "store").mkdir(parents=True)
    return root / via / "store"


def _link(root: Path, name: str, target: str) -> None:
    (root / name).symlink_to(target)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        pytest.param(lambda root: None, (False, False), id="empty"),
        pytest.param(lambda root: (root / "tmp").mkdir(), (True, False), id="tmp"),
        pytest.param(lambda root: _link(root, "tmp", "/nowhere"), (True, False), id="tmp-is-a-link"),
        pytest.param(_store, (False, False), id="empty-store"),
        pytest.param(lambda root: (_store(root) / "x").touch(), (False, True), id="store-of-its-own"),
        pytest.param(lambda root: (root / "nix").touch(), (False, False), id="nix-is-a-file"),
        pytest.param(lambda root: _link(root, "nix", "/"), (False, False), id="nix-leads-out"),
    ],
)
def test_looks(tmp_path: Path, make: Callable[[Path], object], found: tuple[bool, bool]) -> None:
    root = tmp_path / "rootfs"
    root.mkdir()
    make(root)
    rootfs = Rootfs(found[0], root / "nix" / "store" if found[1] else None)
    assert Rootfs.look(tmp_path, spec()) == rootfs
    assert Rootfs.look(Path("/elsewhere"), spec(str(root))) == rootfs


def test_what_it_has_too(tmp_path: Path) -> None:
    store = _store(tmp_path / "rootfs")
    (store / "a").mkdir()
    (store / "b").symlink_to("/nowhere")
    assert Rootfs.look(tmp_path, spec()).among_its_own(["c", "b", "a"]) == ("b", "a")
    assert Rootfs(has_tmp=True, own_store=None).among_its_own(["a"]) == ()
    with pytest.raises(BundleInvalid, match="the store of the container's image /gone/nix/store: No such file"):
        Rootfs(has_tmp=True, own_store=Path("/gone/nix/store")).among_its_own(["a"])


def test_no_root_filesystem(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=r"root filesystem .*/rootfs: No such file"):
        Rootfs.look(tmp_path, spec())

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
    ("make", "rootfs"),
    [
        pytest.param(lambda root: None, Rootfs(False, False), id="empty"),
        pytest.param(lambda root: (root / "tmp").mkdir(), Rootfs(True, False), id="tmp"),
        pytest.param(lambda root: _link(root, "tmp", "/nowhere"), Rootfs(True, False), id="tmp-is-a-link"),
        pytest.param(_store, Rootfs(False, False), id="empty-store"),
        pytest.param(lambda root: (_store(root) / "x").touch(), Rootfs(False, True), id="store-of-its-own"),
        pytest.param(lambda root: (root / "nix").touch(), Rootfs(False, False), id="nix-is-a-file"),
        pytest.param(lambda root: _link(root, "nix", "/"), Rootfs(False, False), id="nix-leads-out"),
    ],
)
def test_looks(tmp_path: Path, make: Callable[[Path], object], rootfs: Rootfs) -> None:
    (tmp_path / "rootfs").mkdir()
    make(tmp_path / "rootfs")
    assert Rootfs.look(tmp_path, spec()) == rootfs
    assert Rootfs.look(Path("/elsewhere"), spec(str(tmp_path / "rootfs"))) == rootfs


def test_no_root_filesystem(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=r"root filesystem .*/rootfs: No such file"):
        Rootfs.look(tmp_path, spec())

"""The folders that containers' own /nix/stores are made of."""

import os
import stat
import subprocess
import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from shim_hooks.errors import NotSupported, StoreFailed
from shim_hooks.store.container_stores import ContainerStores
from shim_hooks.store.leases import Leases
from tests.conftest import needs, needs_root

ME = (os.getuid(), os.getgid())


def test_each_container_gets_an_empty_one(tmp_path: Path) -> None:
    stores = ContainerStores(tmp_path / "mutable")
    first = stores.make_mutable("c1", ME)
    assert (first.upper, first.work) == (tmp_path / "mutable" / "c1" / "upper", tmp_path / "mutable" / "c1" / "work")
    (first.upper / "left").touch()
    again = stores.make_mutable("c1", ME)
    assert (again, list(again.upper.iterdir())) == (first, [])
    stores.sweep(lambda: ["c1"])
    assert [place.name for place in (tmp_path / "mutable").iterdir()] == ["c1"], "what was moved aside is removed"
    assert stores.make_mutable("c2", ME) != first
    assert oct((tmp_path / "mutable").stat().st_mode & 0o777) == "0o711"  # whose names nobody sees


def test_names_are_hidden_by_whiteouts(tmp_path: Path) -> None:
    needs_root()
    stores = ContainerStores(tmp_path / "mutable")
    stores.hide("c1", ["old"])
    mutable = stores.make_mutable("c1", ME)
    hidden = stores.hide("c1", ["one", "two"])
    assert hidden == tmp_path / "mutable" / "c1" / "hidden"
    found = {it.name: (stat.S_ISCHR(it.stat().st_mode), it.stat().st_rdev) for it in hidden.iterdir()}
    assert found == {"one": (True, 0), "two": (True, 0)}
    assert mutable.upper.is_dir()
    stores.sweep(lambda: ())
    assert list((tmp_path / "mutable").iterdir()) == []


def test_those_that_nobody_uses_go(tmp_path: Path) -> None:
    stores = ContainerStores(tmp_path / "mutable")
    stores.sweep(lambda: ())
    for name in ("c1", "c2"):
        (stores.make_mutable(name, ME).upper / "read-only").mkdir(mode=0o555)
    stores.sweep(lambda: ["c2", "c3"])
    assert [place.name for place in (tmp_path / "mutable").iterdir()] == ["c2"]
    stores.sweep(lambda: ())
    assert list((tmp_path / "mutable").iterdir()) == []


def test_a_container_that_starts_during_a_sweep_keeps_its_own(tmp_path: Path) -> None:
    stores = ContainerStores(tmp_path)
    stores.make_mutable("old", ME)

    def in_use() -> list[str]:
        stores.make_mutable("new", ME)
        return []

    stores.sweep(in_use)
    assert [place.name for place in tmp_path.iterdir()] == ["new"]


def test_a_store_that_cannot_be_removed_keeps_no_other(tmp_path: Path) -> None:
    """What lies in one, its container has decided: here a mount, or what only root may remove."""
    needs_root()
    needs("mount")
    stores = ContainerStores(tmp_path / "mutable")
    for name in ("a", "b", "c"):
        stores.make_mutable(name, ME)
    busy = tmp_path / "mutable" / "b" / "upper"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(busy)], check=True, timeout=20)
    with pytest.raises(StoreFailed, match=r"removing .*b, of a container that is gone: .*busy"):
        stores.sweep(lambda: ())
    (left,) = (tmp_path / "mutable").iterdir()
    subprocess.run(["umount", str(left / "upper")], check=True, timeout=20)
    stores.sweep(lambda: ())
    assert list((tmp_path / "mutable").iterdir()) == []


def test_a_container_of_the_same_id_starts_before_the_sweep_or_after_it(tmp_path: Path) -> None:
    """Its lease waits while the sweep judges; what it makes then is its own, and not what the sweep judged."""
    stores, leases = ContainerStores(tmp_path / "mutable"), Leases(tmp_path / "leases")
    (stores.make_mutable("c1", ME).upper / "old").touch()

    def start() -> None:
        leases.take("c1", tmp_path, [])
        (stores.make_mutable("c1", ME).upper / "new").touch()

    starting = threading.Thread(target=start)

    def in_use() -> Collection[str]:
        found = leases.container_ids()
        starting.start()
        starting.join(0.05)
        assert starting.is_alive()
        return found

    stores.sweep(in_use)
    starting.join(20)
    assert [file.name for file in (tmp_path / "mutable" / "c1" / "upper").iterdir()] == ["new"]


@pytest.mark.parametrize("name", ["a,b", "a:b", "a\\b"])
def test_a_folder_that_no_mount_can_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotSupported, match="comma, colon or backslash"):
        ContainerStores(tmp_path / name).make_mutable("c1", ME)


def test_a_disk_that_does_not_do_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed, match="making a store for container c1"):
        ContainerStores(tmp_path / "file").make_mutable("c1", ME)

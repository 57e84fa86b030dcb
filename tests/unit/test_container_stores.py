"""The folders that containers' own /nix/stores are made of."""

import os
import stat
from pathlib import Path

import pytest

from shim_hooks.errors import NotSupported, StoreFailed
from shim_hooks.store.container_stores import ContainerStores
from tests.conftest import needs_root

ME = (os.getuid(), os.getgid())


def test_each_container_gets_an_empty_one(tmp_path: Path) -> None:
    stores = ContainerStores(tmp_path / "mutable")
    first = stores.make_mutable("c1", ME)
    assert (first.upper, first.work) == (tmp_path / "mutable" / "c1" / "upper", tmp_path / "mutable" / "c1" / "work")
    (first.upper / "left").touch()
    again = stores.make_mutable("c1", ME)
    assert (again, list(again.upper.iterdir())) == (first, [])
    assert stores.make_mutable("c2", ME) != first
    assert oct((tmp_path / "mutable").stat().st_mode & 0o777) == "0o700"


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
    stores.remove("c2")
    stores.remove("c2")


def test_a_container_that_starts_during_a_sweep_keeps_its_own(tmp_path: Path) -> None:
    stores = ContainerStores(tmp_path)
    stores.make_mutable("old", ME)

    def in_use() -> list[str]:
        stores.make_mutable("new", ME)
        return []

    stores.sweep(in_use)
    assert [place.name for place in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("name", ["a,b", "a:b", "a\\b"])
def test_a_folder_that_no_mount_can_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotSupported, match="comma, colon or backslash"):
        ContainerStores(tmp_path / name).make_mutable("c1", ME)


def test_a_disk_that_does_not_do_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed, match="making a store for container c1"):
        ContainerStores(tmp_path / "file").make_mutable("c1", ME)

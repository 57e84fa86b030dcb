"""Leases: who uses which store paths."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.store_path import StorePath
from shim_hooks.errors import Refused, StoreFailed
from shim_hooks.store.leases import Lease, LeaseInvalid, Leases
from shim_hooks.store.store_lock import StoreLock

A, B = StorePath("0" * 32, "a"), StorePath("1" * 32, "b")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    return bundle


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "state" / "leases")


def test_takes_finds_and_drops(leases: Leases, bundle: Path) -> None:
    leases.take("c1", bundle, [A, B])
    assert leases.find("c1") == Lease(bundle, frozenset({A, B}))
    assert leases.container_ids() == ("c1",)
    leases.drop("c1")
    leases.drop("c1")
    assert leases.find("c1") is None
    assert leases.container_ids() == ()


def test_taking_again_replaces(leases: Leases, bundle: Path) -> None:
    leases.take("c1", bundle, [A])
    leases.take("c1", bundle, [B])
    assert leases.find("c1") == Lease(bundle, frozenset({B}))


def test_survives_a_restart(leases: Leases, bundle: Path, tmp_path: Path) -> None:
    leases.take("c1", bundle, [A])
    assert Leases(tmp_path / "state" / "leases").find("c1") == Lease(bundle, frozenset({A}))


def test_sweeps_those_whose_bundle_is_gone(leases: Leases, bundle: Path, tmp_path: Path) -> None:
    leases.take("lives", bundle, [A])
    leases.take("dead", tmp_path / "gone", [A])
    (tmp_path / "state" / "leases" / "odd.json").write_text("no lease")
    assert leases.sweep() == ("dead",)
    assert leases.container_ids() == ("lives", "odd")


def test_what_is_leased(leases: Leases, bundle: Path) -> None:
    assert leases.leased() == frozenset()
    leases.take("c1", bundle, [A])
    leases.take("c2", bundle, [A, B])
    assert leases.leased() == {A.base_name, B.base_name}
    leases.take("c2", bundle, [A])
    assert leases.leased() == {A.base_name}
    leases.drop("c1")
    leases.drop("c2")
    assert leases.leased() == frozenset()


def test_a_lease_that_is_none_hides_what_is_leased(leases: Leases, tmp_path: Path) -> None:
    (tmp_path / "state" / "leases" / "odd.json").write_text("no lease")
    with pytest.raises(StoreFailed, match=r"odd\.json cannot be read"):
        leases.leased()


@pytest.mark.parametrize(
    "container_id",
    [
        pytest.param("", id="empty"),
        pytest.param("../escape", id="up"),
        pytest.param("a/b", id="slash"),
        pytest.param("a\0b", id="nul"),
        pytest.param("a\n", id="newline"),
        pytest.param("~a", id="as-a-temporary-file"),
        pytest.param("x" * 201, id="long"),
        pytest.param("ü", id="no-ascii"),
    ],
)
def test_refuses_container_ids_that_are_none(leases: Leases, bundle: Path, container_id: str) -> None:
    with pytest.raises(Refused, match="container id"):
        leases.take(container_id, bundle, [A])
    with pytest.raises(Refused, match="container id"):
        leases.drop(container_id)
    assert leases.container_ids() == ()


@pytest.mark.parametrize("container_id", ["a", "..", "x" * 200, "k8s_web.1+2-3"])
def test_takes_what_runc_takes(leases: Leases, bundle: Path, container_id: str) -> None:
    leases.take(container_id, bundle, [A])
    assert leases.container_ids() == (container_id,)


def test_a_disk_that_does_not_do_it(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("")
    with pytest.raises(StoreFailed, match="preparing the leases"):
        Leases(tmp_path / "leases")


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_lease_or_say_why_not(data: bytes) -> None:
    with suppress(LeaseInvalid):
        Lease.parse(data)


def before_this_boot(file: Path) -> None:
    os.utime(file, (0, 0))


def test_what_a_power_cut_left_of_a_lease_holds_nothing(leases: Leases, bundle: Path, tmp_path: Path) -> None:
    leases.take("lives", bundle, [A])
    torn = tmp_path / "state" / "leases" / "torn.json"
    torn.write_bytes(b"")
    before_this_boot(torn)
    assert leases.leased() == {A.base_name}
    assert leases.sweep() == ("torn",)


def test_a_lease_that_survived_a_power_cut_is_one_until_its_bundle_is_gone(leases: Leases, bundle: Path) -> None:
    leases.take("c1", bundle, [A])
    before_this_boot(bundle.parent / "state" / "leases" / "c1.json")
    assert leases.leased() == {A.base_name}
    assert leases.sweep() == ()


def test_who_takes_a_lease_waits_for_a_collection(leases: Leases, bundle: Path, tmp_path: Path) -> None:
    """What it counts as unused while it has the store's lock, it takes away: nobody may begin to use it meanwhile."""
    taker = threading.Thread(target=leases.take, args=("c1", bundle, [A]))
    with StoreLock(tmp_path / "state").exclusive():
        taker.start()
        taker.join(0.05)
        assert taker.is_alive()
        assert leases.container_ids() == ()
    taker.join(10)
    assert leases.container_ids() == ("c1",)


def test_a_container_of_the_same_id_that_starts_during_a_sweep_keeps_its_lease(
    leases: Leases, bundle: Path, tmp_path: Path
) -> None:
    """As when docker starts one again: what the sweep has judged may be replaced before it is dropped."""
    again = tmp_path / "again"
    leases.take("c1", again, [A])
    swept = list[tuple[str, ...]]()
    sweeping = threading.Thread(target=lambda: swept.append(leases.sweep()))
    with StoreLock(tmp_path / "state").shared():
        sweeping.start()
        sweeping.join(0.1)
        assert sweeping.is_alive()
        again.mkdir()
        Leases(tmp_path / "state" / "leases").take("c1", again, [B])
    sweeping.join(20)
    assert swept == [()]
    assert leases.find("c1") == Lease(again, frozenset({B}))


def test_a_bundle_of_which_nobody_can_say_whether_it_is_there_is_there(leases: Leases, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    leases.take("c1", tmp_path / "loop" / "bundle", [A])
    assert leases.sweep() == ()

"""A store on a disk whose inodes come to an end before its bytes do: environments are made of small files."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shim_hooks.errors import StoreFailed
from shim_hooks.store.collector import Bound, Collector
from shim_hooks.store.leases import Leases
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.room import Room
from tests.conftest import cannot_run, needs, needs_root
from tests.integration.node_rig import running_node
from tests.integration.small_registry import Package, SmallRegistry
from tests.integration.test_node_cli import node as command
from tests.unit.nar_trees import File, Tree

pytestmark = pytest.mark.anyio

INODES = 1500


def many_files(name: str) -> Tree:
    return {b"share": {f"{name}-{number:04}".encode(): File(b"x") for number in range(800)}}


OLD, NEW = Package.make("old", many_files("old")), Package.make("new", many_files("new"))


def mounted(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        cannot_run(f"no disk can be mounted here: {done.stderr.decode().strip()}")


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    needs_root()
    needs("mount", "umount", "mkfs.ext4")
    place, image = tmp_path / "disk", tmp_path / "image"
    place.mkdir()
    if request.param == "tmpfs":
        mounted("-t", "tmpfs", "-o", f"size=200m,nr_inodes={INODES}", "floxbridge-test", str(place))
    else:
        with image.open("wb") as file:
            file.truncate(200 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(INODES), str(image)], check=True, timeout=60)
        mounted("-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True, timeout=60)


@pytest.fixture
def fetched(registry: SmallRegistry) -> SmallRegistry:
    registry.push("acme/old", 1, OLD)
    registry.push("acme/new", 1, NEW)
    return registry


def use_up(disk: Path) -> None:
    """The last inode, too."""
    (disk / "stoppers").mkdir(exist_ok=True)
    with suppress(OSError):
        for number in range(INODES):
            (disk / "stoppers" / str(number)).touch()
    assert Room.look(disk).free_inodes == 0


async def test_a_collection_frees_inodes(fetched: SmallRegistry, disk: Path) -> None:
    async with running_node(disk, fetched.url) as node:
        await node.realise("acme/old")
        with pytest.raises(StoreFailed, match=r"is full\. Free space on it \(df\) or inodes \(df -i\)"):
            await node.realise("acme/new")
        collector, half = Collector(node.store, Leases(disk / "leases")), Bound(None, 50)
        planned = await asyncio.to_thread(collector.plan, half)
        done = await asyncio.to_thread(collector.collect, half)
        assert (planned.closures, planned.freed, planned.excess_inodes) == (1, done.freed, 0)
        assert (done.closures, done.excess, done.excess_inodes) == (1, 0, 0)
        assert (await node.realise("acme/new")).generation == 1
        assert not node.has(OLD)


async def test_no_more_goes_than_there_have_to_be_inodes(fetched: SmallRegistry, disk: Path) -> None:
    small = Package.make("small", {b"share": File(b"x")})
    fetched.push("acme/small", 1, small)
    async with running_node(disk, fetched.url) as node:
        await node.realise("acme/old")
        await node.realise("acme/small")
        collector = Collector(node.store, Leases(disk / "leases"))
        done = await asyncio.to_thread(collector.collect, Bound(None, 50))
        assert (done.closures, node.has(OLD), node.has(small)) == (1, False, True)


async def test_what_is_in_use_is_told(fetched: SmallRegistry, disk: Path) -> None:
    async with running_node(disk, fetched.url) as node:
        leases = Leases(disk / "leases")
        async with node.holding("acme/old") as realised:
            leases.take("c1", disk, realised.paths)
        done = await asyncio.to_thread(Collector(node.store, leases).collect, Bound(None, 100))
        assert (done.closures, done.excess_inodes > 800) == (0, True)


async def test_a_collection_needs_not_one_inode_itself(fetched: SmallRegistry, disk: Path) -> None:
    async with running_node(disk, fetched.url) as node:
        await node.realise("acme/old")
        collector = Collector(node.store, Leases(disk / "leases"))
        use_up(disk)
        done = await asyncio.to_thread(collector.collect, Bound(0, 0))
        assert (done.closures, node.contents()) == (1, set())


async def test_gc_by_hand_on_a_disk_without_inodes(fetched: SmallRegistry, disk: Path) -> None:
    """It has a staging place of its own, which was made when there was room."""
    async with running_node(disk, fetched.url) as node:
        await node.realise("acme/old")
    Leases(disk / "leases")
    use_up(disk)
    done = await asyncio.to_thread(command, "gc", "--max-bytes", "0", "--state-dir", str(disk))
    assert (done.returncode, done.stderr) == (0, "")
    assert list((disk / "store").iterdir()) == []
    NodeStore(disk).close()
    use_up(disk)
    NodeStore(disk).close()  # and so has the next one

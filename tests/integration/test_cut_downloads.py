"""Downloads that break off: where they go on, what is left for the next try, and that it is believed by nobody."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from flox_formats.narinfo import Compression
from shim_hooks.errors import RegistryRefused, RegistryUnavailable, StoreFailed
from shim_hooks.store.collector import Bound, Collector
from shim_hooks.store.leases import Leases
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import KEY, Fault, Package, SmallRegistry, program
from tests.unit.nar_trees import File, Tree

pytestmark = pytest.mark.anyio

BIG = Package.make("big", program("big", size=100_000), compression=Compression.NONE)
SIZE = len(BIG.blob)


def positions(registry: SmallRegistry, package: Package) -> list[int]:
    """From which byte on a blob was asked for, each time."""
    blob = f"/blobs/{package.path.blob} ".encode()
    heads = (head.lower() for head in registry.heads if blob in head)
    return [int(head.partition(b"range: bytes=")[2].partition(b"-")[0] or 0) for head in heads]


def cut(registry: SmallRegistry, after: int, then: Fault) -> None:
    """The next answer breaks off, and what comes next ends so. By then what came is on the disk."""
    registry.fail(BIG, Fault(times=1, cut=after))
    registry.fail(str(BIG.path.blob), then)


async def stuck(registry: SmallRegistry) -> None:
    async with asyncio.timeout(60):
        await registry.held.wait()


# Within one try


@pytest.mark.parametrize("ranges", [pytest.param(True, id="goes-on"), pytest.param(False, id="begins-again")])
async def test_a_download_that_is_cut_off(registry: SmallRegistry, node: Node, ranges: bool) -> None:
    registry.push("acme/web", 1, BIG)
    cut(registry, 60_000, Fault(ranges=ranges))
    realised = await node.realise("acme/web")
    assert node.has(BIG)
    assert positions(registry, BIG) == [0, 60_000]
    assert realised.fetched_bytes == SIZE + (0 if ranges else 60_000)
    assert node.is_tidy()


async def test_cuts_do_not_count_as_long_as_more_of_it_comes(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, BIG)
    registry.fail(BIG, Fault(cut=10_000))
    await node.realise("acme/web")
    assert positions(registry, BIG) == list(range(0, SIZE, 10_000))


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        pytest.param(Fault(cut=0), [60_000], id="nothing-more"),
        pytest.param(Fault(cut=10, ranges=False), [10], id="less"),
    ],
)
async def test_cuts_that_bring_nothing_new_end_it(
    registry: SmallRegistry, node: Node, fault: Fault, kept: list[int]
) -> None:
    registry.push("acme/web", 1, BIG)
    cut(registry, 60_000, fault)
    with pytest.raises(RegistryUnavailable, match=r"fetching blob sha256:.* broke off .* for the 5th time in vain"):
        await node.realise("acme/web")
    assert len(positions(registry, BIG)) == 6
    assert node.partial_sizes() == kept
    assert not node.contents()


async def test_a_cut_behind_the_last_byte_is_none(registry: SmallRegistry, node: Node) -> None:
    """An answer in chunks has an end of its own, and that can be missing when every byte is there."""
    registry.push("acme/web", 1, BIG)
    registry.fail(BIG, Fault(times=1, cut=SIZE, chunked=True))
    await node.realise("acme/web")
    assert positions(registry, BIG) == [0]


# The next try


@pytest.mark.parametrize(
    ("then", "kind"),
    [
        pytest.param(Fault(times=5, cut=0), RegistryUnavailable, id="cut-off"),
        pytest.param(Fault(times=1, status=404), RegistryRefused, id="refused"),
        pytest.param(Fault(times=5, status=503), RegistryUnavailable, id="too-busy"),
    ],
)
async def test_the_next_create_goes_on(registry: SmallRegistry, node: Node, then: Fault, kind: type[Exception]) -> None:
    registry.push("acme/web", 1, BIG)
    cut(registry, 60_000, then)
    with pytest.raises(kind):
        await node.realise("acme/web")
    plan = await asyncio.to_thread(Collector(node.store, Leases(node.store.root / "leases")).plan, Bound(None, 0))
    assert (node.partial_sizes(), node.contents(), plan.size) == ([60_000], set(), 0)
    realised = await node.realise("acme/web")
    assert realised.fetched_bytes == SIZE - 60_000
    assert set(positions(registry, BIG)) == {0, 60_000}
    assert node.is_tidy()


async def test_an_agent_that_is_stopped_leaves_it_to_the_next_one(registry: SmallRegistry, tmp_path: Path) -> None:
    registry.push("acme/web", 1, BIG)
    cut(registry, 60_000, Fault(times=1, hold=asyncio.Event()))
    async with running_node(tmp_path, registry.url) as node:
        waiting = asyncio.create_task(node.realise("acme/web"))
        await stuck(registry)
    with pytest.raises(RegistryUnavailable, match="is being stopped"):
        await waiting
    async with running_node(tmp_path, registry.url) as node:
        await node.realise("acme/web")
        assert node.is_tidy()
    assert positions(registry, BIG) == [0, 60_000, 60_000]


async def test_an_agent_that_is_killed_leaves_it_to_the_next_one(registry: SmallRegistry, tmp_path: Path) -> None:
    registry.push("acme/web", 1, BIG)
    cut(registry, 60_000, Fault(times=1, hold=asyncio.Event()))
    options = ("--state-dir", str(tmp_path), "--registry-url", registry.url, "--trusted-key", str(KEY.public))
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shim_hooks.cli", "realise", "acme/web", *options, "--connect-timeout-s", "5")
    )
    try:
        await stuck(registry)
    finally:
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
    async with running_node(tmp_path, registry.url) as node:
        await node.realise("acme/web")
        assert node.is_tidy()
    assert positions(registry, BIG) == [0, 60_000, 60_000]


async def test_how_far_it_is_counts_what_was_there(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, BIG)
    cut(registry, 60_000, Fault(times=5, cut=0))
    with pytest.raises(RegistryUnavailable):
        await node.realise("acme/web")
    go_on = asyncio.Event()
    registry.fail(BIG, Fault(hold=go_on))
    waiting = asyncio.create_task(node.realise("acme/web"))
    await stuck(registry)
    (under_way,) = node.realiser.under_way()
    assert under_way.progress is not None
    assert (under_way.progress.done, under_way.progress.total) == (60_000, SIZE)
    go_on.set()
    await waiting


# What is left is believed by nobody


@pytest.mark.parametrize(
    ("left", "asked"),
    [
        pytest.param(BIG.blob[:60_000], [60_000], id="as-it-was-left"),
        pytest.param(BIG.blob, [], id="all-of-it"),
        pytest.param(bytes(60_000), [60_000, 0], id="spoilt"),
        pytest.param(bytes(SIZE), [0], id="all-of-it-spoilt"),
        pytest.param(BIG.blob + b"\0", [0], id="too-much"),
        pytest.param(b"", [0], id="nothing"),
    ],
)
async def test_what_is_left_is_hashed_anew(
    registry: SmallRegistry, tmp_path: Path, left: bytes, asked: list[int]
) -> None:
    registry.push("acme/web", 1, BIG)
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / BIG.path.blob.hex).write_bytes(left)
    async with running_node(tmp_path, registry.url) as node:
        await node.realise("acme/web")
        assert node.store.public.path_of(BIG.store_path).joinpath("bin", "big").stat().st_size > 100_000
        assert node.is_tidy()
    assert positions(registry, BIG) == asked


async def test_a_link_in_its_place_is_not_followed(registry: SmallRegistry, tmp_path: Path) -> None:
    registry.push("acme/web", 1, BIG)
    (tmp_path / "partial").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"keep")
    (tmp_path / "partial" / BIG.path.blob.hex).symlink_to(tmp_path / "elsewhere")
    async with running_node(tmp_path, registry.url) as node:
        with pytest.raises(StoreFailed, match="symbolic links"):
            await node.realise("acme/web")
    assert (tmp_path / "elsewhere").read_bytes() == b"keep"


# Two at once


async def test_two_agents_have_a_file_each(registry: SmallRegistry, tmp_path: Path) -> None:
    """One that takes over, and the one that it takes over from."""
    registry.push("acme/web", 1, BIG)
    go_on = asyncio.Event()
    cut(registry, 60_000, Fault(times=1, hold=go_on))
    async with running_node(tmp_path, registry.url) as old, running_node(tmp_path, registry.url) as new:
        waiting = asyncio.create_task(old.realise("acme/web"))
        await stuck(registry)
        await new.realise("acme/web")
        assert new.has(BIG)
        go_on.set()
        await waiting
        assert positions(registry, BIG) == [0, 60_000, 0]
        assert old.is_tidy()


async def test_two_paths_that_come_by_one_blob_have_a_file_each(registry: SmallRegistry, node: Node) -> None:
    tree: Tree = {b"same": File(b"x" * 100_000)}
    one, other = (Package.make(name, tree, compression=Compression.NONE) for name in ("one", "other"))
    assert one.path.blob == other.path.blob
    registry.push("acme/web", 1, one, other, roots=[one])
    go_on = asyncio.Event()
    registry.fail(one, Fault(times=1, hold=go_on))
    waiting = asyncio.create_task(node.realise("acme/web"))
    await stuck(registry)
    go_on.set()
    await waiting
    assert node.has(one)
    assert node.has(other)
    assert positions(registry, one) == [0, 0]
    assert node.is_tidy()

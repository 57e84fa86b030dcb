"""The collection of a node's store: real environments, real leases, and containers that come meanwhile."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from shim_hooks.errors import RegistryUnavailable, StoreFailed
from shim_hooks.store.collector import Bound, Collected, Collector
from shim_hooks.store.leases import Leases
from shim_hooks.store.room import Room
from tests.integration.node_rig import Node
from tests.integration.small_registry import Fault, Generation, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

LIB = Package.make("lib", program("lib", size=3000))
ONE = Package.make("one", program("one", size=3000), [LIB.store_path])
TWO = Package.make("two", program("two", size=3000), [LIB.store_path])
NOTHING, ANYTHING = Bound(0, 0), Bound(None, 0)
"""Everything that is not in use goes; everything may stay."""


@pytest.fixture
def leases(node: Node) -> Leases:
    return Leases(node.store.root / "leases")


@pytest.fixture
def collector(node: Node, leases: Leases) -> Collector:
    return Collector(node.store, leases)


def used(node: Node, generation: Generation, when: float) -> None:
    """Sets when a container last used it."""
    folder = node.store.root / "closures"
    os.utime(folder / f"{generation.lockfile.digest.hex}-{generation.document.system}.json", (when, when))


async def collect(collector: Collector, bound: Bound) -> Collected:
    return await asyncio.to_thread(collector.collect, bound)


async def test_the_least_recently_used_goes_first(registry: SmallRegistry, node: Node, collector: Collector) -> None:
    first, second = registry.push("acme/one", 1, ONE, LIB), registry.push("acme/two", 1, TWO, LIB)
    for generation, when in ((first, 200.0), (second, 100.0)):
        await node.realise(generation)
        used(node, generation, when)
    size = (await collect(collector, ANYTHING)).size
    done = await collect(collector, Bound(size - 1, 0))
    assert (done.closures, done.excess) == (1, 0)
    assert (node.has(ONE), node.has(LIB), node.has(TWO)) == (True, True, False)
    assert len(node.contents()) == 3
    assert (await node.realise(first)).fetched_bytes == 0
    assert (await node.realise(second)).fetched_bytes == len(TWO.blob)
    assert node.is_tidy()


async def test_a_create_is_a_use(registry: SmallRegistry, node: Node, collector: Collector) -> None:
    first, second = registry.push("acme/one", 1, ONE, LIB), registry.push("acme/two", 1, TWO, LIB)
    for generation in (first, second):
        await node.realise(generation)
        used(node, generation, 100.0)
    await node.realise(first)
    size = (await collect(collector, ANYTHING)).size
    await collect(collector, Bound(size - 1, 0))
    assert (node.has(ONE), node.has(TWO)) == (True, False)


@pytest.mark.parametrize("sweep", [pytest.param(True, id="swept-before"), pytest.param(False, id="swept-then")])
async def test_the_end_of_a_container_is_a_use(
    registry: SmallRegistry, node: Node, tmp_path: Path, *, sweep: bool
) -> None:
    """One that ran for long, and that its pod starts again in a moment, is not older than one that nobody ever used."""
    leases, bundle = Leases(node.store.root / "leases", ended=node.store.note_use), tmp_path / "bundle"
    bundle.mkdir()
    for number, generation in enumerate(
        (registry.push("acme/one", 1, ONE, LIB), registry.push("acme/two", 1, TWO, LIB))
    ):
        realised = await node.realise(generation)
        used(node, generation, 100.0 + number)
        if number == 0:
            leases.take("c1", bundle, realised.paths)
    size = (await collect(Collector(node.store, leases), ANYTHING)).size
    bundle.rmdir()
    if sweep:
        assert leases.sweep() == ("c1",)
    await collect(Collector(node.store, leases), Bound(size - 1, 0))
    assert (node.has(ONE), node.has(TWO)) == (True, False)


async def test_what_a_container_uses_stays_until_its_bundle_is_gone(
    registry: SmallRegistry, node: Node, collector: Collector, leases: Leases, tmp_path: Path
) -> None:
    generation = registry.push("acme/one", 1, ONE, LIB)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    realised = await node.realise(generation)
    leases.take("c1", bundle, realised.paths)
    done = await collect(collector, NOTHING)
    assert (done.freed, done.entries, done.excess, done.kept) == (0, 0, done.size, done.size)
    assert not node.store.public.missing(realised.paths)
    bundle.rmdir()
    done = await collect(collector, NOTHING)
    assert (done.entries, done.size, done.excess) == (3, 0, 0)
    assert not node.contents()
    assert not [entry for entry in (node.store.root / "closures").iterdir() if entry.is_file()]


async def test_what_is_held_stays(registry: SmallRegistry, node: Node, collector: Collector) -> None:
    registry.push("acme/one", 1, ONE, LIB)
    async with node.holding("acme/one") as realised:
        await collect(collector, NOTHING)
        assert not node.store.public.missing(realised.paths)
    await collect(collector, NOTHING)
    assert not node.contents()


async def test_what_is_being_fetched_stays(registry: SmallRegistry, node: Node, collector: Collector) -> None:
    gate = asyncio.Event()
    registry.push("acme/lib", 1, LIB)
    await node.realise("acme/lib")
    registry.push("acme/one", 1, ONE, LIB)
    registry.fail(ONE, Fault(hold=gate))
    coming = asyncio.create_task(node.realise("acme/one"))
    await registry.held.wait()
    await collect(collector, NOTHING)
    assert node.has(LIB)
    gate.set()
    realised = await coming
    assert realised.fetched_bytes == len(ONE.blob)
    assert not node.store.public.missing(realised.paths)


async def test_what_belongs_to_no_closure_goes(node: Node, collector: Collector) -> None:
    (node.store.public.path_of(LIB.store_path) / "lib").mkdir(parents=True)
    (node.store.public.path_of(LIB.store_path) / "lib" / "file").write_text("12345")
    done = await collect(collector, NOTHING)
    assert (done.entries, done.closures, done.freed) == (1, 0, 5)


async def test_under_load(registry: SmallRegistry, node: Node, collector: Collector, leases: Leases) -> None:
    """Containers come and go while all that nobody uses is taken away, again and again: none of them misses a path."""
    registry.push("acme/one", 1, ONE, LIB)
    registry.push("acme/two", 1, TWO, LIB)

    async def container(number: int) -> None:
        name = f"c{number}"
        bundle = node.store.root / "bundles" / name
        bundle.mkdir(parents=True)
        async with node.holding("acme/one" if number % 2 else "acme/two") as realised:
            await asyncio.to_thread(leases.take, name, bundle, realised.paths)
        assert not node.store.public.missing(realised.paths), "leased, and yet taken away"
        await collect_once()
        assert not node.store.public.missing(realised.paths), "leased, and yet taken away"
        bundle.rmdir()

    turn = asyncio.Lock()

    async def collect_once() -> None:
        async with turn:  # one thread at a time uses a collector
            await collect(collector, NOTHING)

    for _ in range(5):
        await asyncio.gather(*(container(number) for number in range(8)))
    await collect_once()
    assert not node.contents()
    assert node.is_tidy()


async def test_two_collectors_at_once(
    registry: SmallRegistry, node: Node, collector: Collector, leases: Leases
) -> None:
    packages = [Package.make(f"p{number}", program(f"p{number}")) for number in range(80)]
    registry.push("acme/many", 1, *packages)
    await node.realise("acme/many")
    both = await asyncio.gather(collect(collector, NOTHING), collect(Collector(node.store, leases), NOTHING))
    assert sum(done.entries for done in both) == 81
    assert not node.contents()


async def test_a_plan_changes_nothing(registry: SmallRegistry, node: Node, collector: Collector) -> None:
    registry.push("acme/one", 1, ONE, LIB)
    await node.realise("acme/one")
    before = node.contents()
    plan = await asyncio.to_thread(collector.plan, NOTHING)
    assert (plan.entries, plan.closures, plan.size) == (3, 1, 0)
    assert node.contents() == before
    assert (await collect(collector, NOTHING)) == plan


async def test_a_lease_that_cannot_be_read_stops_it(
    registry: SmallRegistry, node: Node, collector: Collector, leases: Leases
) -> None:
    registry.push("acme/one", 1, ONE, LIB)
    await node.realise("acme/one")
    (node.store.root / "leases" / "c1.json").write_text("garbage")
    with pytest.raises(StoreFailed, match=r"c1\.json cannot be read, so nobody knows .* Remove the file"):
        await collect(collector, NOTHING)
    assert node.has(ONE)


@pytest.mark.parametrize("how", ["plan", "collect"])
async def test_a_store_that_is_read_for_long_keeps_no_container_waiting(
    registry: SmallRegistry, node: Node, leases: Leases, tmp_path: Path, how: str
) -> None:
    """A record that somebody still writes, as it were, stands for a disk that takes its time."""
    generation = registry.push("acme/one", 1, ONE, LIB)
    await node.realise(generation)
    record = node.store.root / "closures" / f"{generation.lockfile.digest.hex}-{generation.document.system}.json"
    record.unlink()
    os.mkfifo(record)
    collector = Collector(node.store, leases)
    collecting = asyncio.create_task(asyncio.to_thread(collector.plan if how == "plan" else collector.collect, NOTHING))
    with await asyncio.to_thread(record.open, "wb"):  # opens when somebody reads it
        async with asyncio.timeout(20):
            await asyncio.to_thread(leases.take, "c1", tmp_path, [LIB.store_path])
    await collecting


async def test_a_damaged_record_is_none(registry: SmallRegistry, node: Node, leases: Leases) -> None:
    generation = registry.push("acme/one", 1, ONE, LIB)
    await node.realise(generation)
    folder = node.store.root / "closures"
    (folder / f"{generation.lockfile.digest.hex}-{generation.document.system}.json").write_bytes(b"{}")
    done = await collect(Collector(node.store, leases), NOTHING)
    assert (done.entries, done.closures) == (3, 1)
    assert not [entry for entry in folder.iterdir() if entry.is_file()]


async def test_temporary_files_of_the_dead_are_swept(node: Node, leases: Leases) -> None:
    left, lease = node.store.root / "closures" / "~left", node.store.root / "leases" / "~left"
    left.write_text("half")
    lease.write_text("half")
    await collect(Collector(node.store, leases), ANYTHING)
    assert left.exists(), "whoever writes it may live"
    await collect(Collector(node.store, leases, clock=lambda: time.time() + 7200), ANYTHING)
    assert not left.exists()
    assert not lease.exists()


def notes(node: Node) -> tuple[int, int]:
    """How many answers of the registry and how many linked environments are remembered."""
    closures = node.store.root / "closures"
    known = [file for file in (closures / "known").iterdir() if file.name != "public.json"]
    return len(known), len(list((closures / "linked").iterdir()))


async def a_day_later(node: Node, leases: Leases, bound: Bound) -> Collected:
    later = Collector(node.store, leases, clock=lambda: time.time() + 90_000)
    return await collect(later, bound)


async def test_what_is_known_of_closures_that_are_gone_is_forgotten_in_time(
    registry: SmallRegistry, node: Node, collector: Collector, leases: Leases
) -> None:
    for number in (1, 2):
        registry.push("acme/one", number, ONE, LIB)
    for reference in ("acme/one", "acme/one:1", "acme/one:2"):
        await node.realise(reference)
    await a_day_later(node, leases, ANYTHING)
    assert notes(node) == (3, 1)
    await collect(collector, NOTHING)
    assert (node.contents(), notes(node)) == (set(), (3, 1)), "what was asked for lately may be on its way"
    await a_day_later(node, leases, ANYTHING)
    assert notes(node) == (0, 0)


async def test_while_its_closure_is_here_the_live_generation_stays_known(
    registry: SmallRegistry, node: Node, leases: Leases, tmp_path: Path
) -> None:
    """The registry is away for days, and containers go on starting."""
    registry.push("acme/one", 1, ONE, LIB)
    registry.push("acme/two", 1, TWO, LIB)
    realised = await node.realise("acme/one")
    await node.realise("acme/two")
    leases.take("c1", tmp_path, realised.paths)
    await a_day_later(node, leases, NOTHING)
    assert notes(node) == (1, 1)
    registry.contents.clear()
    registry.fail("/manifests/live", Fault(status=503))
    registry.fail("/manifests/1", Fault(status=503))
    assert (await node.realise("acme/one")).env_path == realised.env_path
    with pytest.raises(RegistryUnavailable):
        await node.realise("acme/two")


@pytest.mark.parametrize(
    ("bound", "room", "excess"),
    [
        pytest.param(Bound(None, 0), Room(10_000, 995, 0, 0), (0, 0), id="none"),
        pytest.param(Bound(1000, 0), Room(10_000, 995, 0, 0), (0, 0), id="kept"),
        pytest.param(Bound(999, 0), Room(10_000, 995, 0, 0), (1, 0), id="by-size"),
        pytest.param(Bound(None, 10), Room(10_000, 995, 0, 0), (5, 0), id="by-disk"),
        pytest.param(Bound(990, 10), Room(10_000, 995, 0, 0), (10, 0), id="the-larger-of-both"),
        pytest.param(Bound(None, 10), Room(10_000, 9950, 500, 45), (0, 5), id="by-inodes"),
        pytest.param(Bound(0, 0), Room(10_000, 9950, 500, 0), (1000, 0), id="inodes-without-a-bound"),
    ],
)
def test_bounds(bound: Bound, room: Room, excess: tuple[int, int]) -> None:
    found = bound.excess(1000, room)
    assert (found.bytes, found.inodes, bool(found)) == (*excess, excess != (0, 0))

"""How many downloads are under way at once, and whose: as many as there may be, and those first that a container
waits for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from flox_formats.narinfo import Compression
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Wanted
from tests.integration.node_rig import Node
from tests.integration.small_registry import Fault, Generation, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

PARALLEL, AHEAD = 8, 4
MANY = [
    Package.make(f"many-{n}", program(f"many-{n}", size=100 * (30 - n)), compression=Compression.NONE)
    for n in range(20)
]
SMALL = Package.make("small", program("small"))


@contextmanager
def held(registry: SmallRegistry) -> Iterator[dict[str, asyncio.Event]]:
    """For the blob of each of many packages, what it waits for; in the end all are let go."""
    events = {package.store_path.name: asyncio.Event() for package in MANY}
    for package in MANY:
        registry.fail(package, Fault(hold=events[package.store_path.name]))
    try:
        yield events
    finally:
        for event in events.values():
            event.set()


async def nothing_more_begins(registry: SmallRegistry, node: Node) -> None:
    """Another environment, which has no paths to wait for, has come meanwhile."""
    registry.push("acme/empty", 1)
    await node.realise("acme/empty")


def ahead(generation: Generation) -> Wanted:
    """As an image that is pulled has it fetched."""
    return Wanted(generation.environment, generation.number, generation.lockfile.digest, Mode.RUN, ahead=True)


async def test_so_many_at_a_time_and_no_more(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, *MANY)
    with held(registry) as let_go:
        waiting = asyncio.create_task(node.realise("acme/web"))
        await registry.until_held(PARALLEL)
        await nothing_more_begins(registry, node)
        assert registry.blob_requests(*MANY).total() == PARALLEL
        let_go["many-0"].set()  # the largest, so it was the first
        await registry.until_held(PARALLEL + 1)
        await nothing_more_begins(registry, node)
        assert registry.blob_requests(*MANY).total() == PARALLEL + 1
    await waiting


async def test_a_small_environment_does_not_wait_for_all_of_a_large_one(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/large", 1, *MANY)
    registry.push("acme/small", 1, SMALL)
    with held(registry) as let_go:
        large = asyncio.create_task(node.realise("acme/large"))
        await registry.until_held(PARALLEL)
        small = asyncio.create_task(node.realise("acme/small"))
        await nothing_more_begins(registry, node)
        for name in ("many-0", "many-1"):  # by then it was its turn
            let_go[name].set()
        await small
        assert not large.done()
    await large


async def test_a_container_comes_before_what_is_fetched_ahead(registry: SmallRegistry, node: Node) -> None:
    generation = registry.push("acme/pulled", 1, *MANY)
    registry.push("acme/small", 1, SMALL)
    with held(registry):
        pulled = asyncio.create_task(node.realise(ahead(generation)))
        await registry.until_held(AHEAD)
        await node.realise("acme/small")
        assert registry.blob_requests(*MANY).total() == AHEAD
    await pulled


async def test_a_container_hurries_what_was_fetched_ahead(registry: SmallRegistry, node: Node) -> None:
    generation = registry.push("acme/pulled", 1, *MANY)
    with held(registry):
        pulled = asyncio.create_task(node.realise(ahead(generation)))
        await registry.until_held(AHEAD)
        container = asyncio.create_task(node.realise(replace(ahead(generation), ahead=False)))
        await registry.until_held(PARALLEL)
    await asyncio.gather(pulled, container)


async def test_a_path_of_both_comes_as_the_container_wants_it(registry: SmallRegistry, node: Node) -> None:
    generation = registry.push("acme/pulled", 1, *MANY, SMALL)  # the smallest, so the last one
    registry.push("acme/small", 1, SMALL)
    with held(registry):
        pulled = asyncio.create_task(node.realise(ahead(generation)))
        await registry.until_held(AHEAD)
        await node.realise("acme/small")
        assert not pulled.done()
    await pulled
    assert registry.blob_requests(SMALL).total() == 1

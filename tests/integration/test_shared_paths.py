"""A store path that several environments want: fetched once, and whoever began it spoils it for nobody else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flox_formats.digest import Digest
from flox_formats.narinfo import Compression
from shim_hooks.environment.realised import Realised
from shim_hooks.errors import ContentRejected, NodeError, RegistryRefused, RegistryUnavailable, StoreFailed
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import COMPRESS, Fault, Package, SmallRegistry, program
from tests.integration.test_realise import Clock
from tests.unit.nar_trees import nar

pytestmark = pytest.mark.anyio

TREE = program("shared", size=3000)
SHARED = Package.make("shared", TREE, compression=Compression.NONE)


def by_another_blob(blob: bytes, compression: Compression) -> Package:
    """The same path, as a cache that compresses otherwise, or lies, has it. What is signed is the same."""
    path = replace(SHARED.path, blob=Digest.of(blob), blob_size=len(blob), compression=compression)
    return Package(path, blob)


XZ = by_another_blob(COMPRESS[Compression.XZ](nar(TREE)), Compression.XZ)
LIE = by_another_blob(nar(TREE) + bytes(60_000), Compression.NONE)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def node(registry: SmallRegistry, clock: Clock, tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path, registry.url, clock=clock) as node:
        yield node


async def both(
    registry: SmallRegistry, node: Node, clock: Clock, go_on: asyncio.Event
) -> tuple[asyncio.Task[Realised], ...]:
    """acme/first, which waits for its blob to go on, and acme/second, which waits for acme/first's fetch. Both end."""
    first = asyncio.create_task(node.realise("acme/first"))
    async with asyncio.timeout(60):
        await registry.held.wait()
    second = asyncio.create_task(node.realise("acme/second"))
    await clock.until_fetched(node, "acme/second", 0)
    go_on.set()
    await asyncio.wait([first, second])
    return first, second


async def test_closures_that_promise_other_blobs_share_the_one_that_comes(
    registry: SmallRegistry, node: Node, clock: Clock
) -> None:
    registry.push("acme/first", 1, SHARED)
    registry.push("acme/second", 1, XZ)
    go_on = asyncio.Event()
    registry.fail(SHARED, Fault(hold=go_on))
    for task in await both(registry, node, clock, go_on):
        await task
    assert registry.blob_requests(SHARED, XZ) == {str(SHARED.path.blob): 1}


@pytest.mark.parametrize(
    ("first", "fault", "kind", "second"),
    [
        pytest.param(LIE, Fault(), ContentRejected, XZ, id="a-lie"),
        pytest.param(SHARED, Fault(body=b"x" * SHARED.path.blob_size), ContentRejected, XZ, id="another-content"),
        pytest.param(SHARED, Fault(status=503, times=5), RegistryUnavailable, XZ, id="a-cache-that-is-away"),
        pytest.param(SHARED, Fault(status=404, times=1), RegistryRefused, SHARED, id="refused-there"),
        pytest.param(SHARED, Fault(status=403, times=1), RegistryRefused, XZ, id="denied-to-the-first-one"),
    ],
)
async def test_who_waits_for_a_fetch_that_fails_has_a_try_of_its_own(
    registry: SmallRegistry,
    node: Node,
    clock: Clock,
    first: Package,
    fault: Fault,
    kind: type[NodeError],
    second: Package,
) -> None:
    registry.push("acme/first", 1, first)
    registry.push("acme/second", 1, second)
    go_on = asyncio.Event()
    registry.fail(first, replace(fault, hold=go_on))
    failed, came = await both(registry, node, clock, go_on)
    assert isinstance(failed.exception(), kind)
    await came
    assert node.has(SHARED)
    assert node.is_tidy()


async def test_a_registry_that_is_away_for_all_is_asked_once(registry: SmallRegistry, node: Node, clock: Clock) -> None:
    registry.push("acme/first", 1, SHARED)
    registry.push("acme/second", 1, SHARED)
    go_on = asyncio.Event()
    registry.fail(SHARED, Fault(status=503, hold=go_on))
    for task in await both(registry, node, clock, go_on):
        assert isinstance(task.exception(), RegistryUnavailable)
    assert registry.blob_requests(SHARED) == {str(SHARED.path.blob): 5}


async def test_a_try_of_ones_own_that_fails_is_the_last_one(registry: SmallRegistry, node: Node, clock: Clock) -> None:
    registry.push("acme/first", 1, SHARED)
    registry.push("acme/second", 1, SHARED)
    go_on = asyncio.Event()
    registry.fail(SHARED, Fault(status=404, hold=go_on))
    for task in await both(registry, node, clock, go_on):
        assert isinstance(task.exception(), RegistryRefused)
    assert registry.blob_requests(SHARED) == {str(SHARED.path.blob): 2}


async def test_a_blob_that_the_disk_has_no_room_for_is_not_fetched(registry: SmallRegistry, node: Node) -> None:
    """Of a path that is addressed by its content no signature covers the size."""
    source = Package.make("source", TREE, key=None, content_addressed=True, compression=Compression.NONE)
    endless = replace(source, path=replace(source.path, nar_size=2**60, blob_size=2**60))
    registry.push("acme/web", 1, endless)
    with pytest.raises(StoreFailed, match=r"is full\. Free space on it"):
        await node.realise("acme/web")
    assert not registry.blob_requests(endless)
    assert node.is_tidy()


async def test_a_blob_larger_than_its_nar_can_get_is_not_fetched(registry: SmallRegistry, node: Node) -> None:
    huge = by_another_blob(nar(TREE) + bytes(1_000_000), Compression.NONE)
    registry.push("acme/good", 1, SHARED)
    generation = registry.push("acme/web", 1, SHARED)
    document = generation.document.to_bytes()
    lying = document.replace(str(SHARED.path.blob).encode(), str(huge.path.blob).encode()).replace(
        b'"size":%d' % SHARED.path.blob_size, b'"size":%d' % huge.path.blob_size
    )
    config = {"mediaType": "application/vnd.floxbridge.closure.v1+json", "digest": str(Digest.of(lying))}
    registry.push("acme/web", 1, SHARED, members={"config": {**config, "size": len(lying)}})
    registry.contents[f"/v2/flox/empty/acme/web/blobs/{Digest.of(lying)}"] = lying
    registry.contents[f"/v2/flox/empty/acme/web/blobs/{huge.path.blob}"] = huge.blob
    with pytest.raises(ContentRejected, match=f"the blob of {SHARED.store_path} has .* no compression makes it so"):
        await node.realise("acme/web")
    assert not registry.blob_requests(huge)
    await node.realise("acme/good")

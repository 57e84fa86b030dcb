"""Downloads that break off: where they go on, and what is left for the next try."""

import pytest

from flox_formats.narinfo import Compression
from tests.integration.node_rig import Node
from tests.integration.small_registry import Fault, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

BIG = Package.make("big", program("big", size=100_000), compression=Compression.NONE)


def positions(registry: SmallRegistry, package: Package) -> list[int]:
    """From which byte on a blob was asked for, each time."""
    blob = f"/blobs/{package.path.blob} ".encode()
    heads = (head.lower() for head in registry.heads if blob in head)
    return [int(head.partition(b"range: bytes=")[2].partition(b"-")[0] or 0) for head in heads]


async def test_a_cut_behind_the_last_byte_is_none(registry: SmallRegistry, node: Node) -> None:
    """An answer in chunks has an end of its own, and that can be missing when every byte is there."""
    registry.push("acme/web", 1, BIG)
    registry.fail(BIG, Fault(times=1, cut=len(BIG.blob), chunked=True))
    await node.realise("acme/web")
    assert positions(registry, BIG) == [0]

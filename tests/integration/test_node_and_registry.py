"""The two halves together: what a real registry serves comes onto a real node."""

from pathlib import Path

import pytest

from flox_formats.signature import TrustedKeys
from tests.integration.node_rig import running_node
from tests.integration.registry_rig import World, running_registry

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_push_change_and_roll_back(world: World, tmp_path: Path) -> None:
    library = world.package("library", "shared")
    hello, extra = world.package("hello", "hello", library), world.package("extra", "extra")
    world.push("Acme/web", hello)
    trusted = TrustedKeys([world.cache.public_key])
    with running_registry(world.settings()) as client:
        async with running_node(tmp_path / "node", str(client.base_url), trusted=trusted) as node:
            first = await node.realise("Acme/web")
            assert first.generation == 1
            assert {library, hello} < set(first.paths)
            program = first.store_dir / hello.base_name / "bin" / "hello"
            assert program.read_text().startswith("#!/bin/sh\necho hello\n")
            world.push("Acme/web", hello, extra)
            second = await node.realise("Acme/web")
            assert (second.generation, set(second.paths) - set(first.paths)) == (2, {extra, second.env_path})
            assert 0 < second.fetched_bytes < first.fetched_bytes
            world.switch("Acme/web", 1)
            third = await node.realise("Acme/web")
            assert (third.generation, third.env_path, third.fetched_bytes) == (1, first.env_path, 0)
    async with running_node(tmp_path / "node", "http://127.0.0.1:1", trusted=trusted) as node:
        assert (await node.realise("Acme/web")).env_path == first.env_path

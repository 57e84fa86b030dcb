"""`floxbridge-node gc`, `verify` and `status` on a store with environments in it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shim_hooks.store.leases import Leases
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import Fault, Package, SmallRegistry, program
from tests.integration.test_node_cli import NOBODY, node

pytestmark = pytest.mark.anyio

LIB = Package.make("lib", program("lib", size=3000))
ONE = Package.make("one", program("one", size=3000), [LIB.store_path])


@pytest.fixture
async def there(registry: SmallRegistry, tmp_path: Path) -> AsyncIterator[Node]:
    """A node that has acme/one, and goes on while commands are run."""
    async with running_node(tmp_path / "state", registry.url) as running:
        registry.push("acme/one", 1, ONE, LIB)
        await running.realise("acme/one")
        yield running


async def run(there: Node, command: str, *arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(node, command, *arguments, "--state-dir", str(there.store.root))
    assert done.stderr == ""
    return done.returncode, done.stdout


def damage(there: Node, package: Package, name: str) -> None:
    (there.store.path_of(package.store_path) / "bin" / name).chmod(0o755)
    (there.store.path_of(package.store_path) / "bin" / name).write_text("other")


async def test_gc_takes_what_nobody_uses(there: Node) -> None:
    code, said = await run(there, "gc", "--max-bytes", "0", "--dry-run")
    assert (code, len(there.contents())) == (0, 3)
    assert "would free" in said
    code, said = await run(there, "gc", "--max-bytes", "0")
    assert code == 0
    assert "1 environments, 3 store paths\nthen the store has 0 bytes, of which 0 bytes are in use\n" in said
    assert not there.contents()


async def test_gc_leaves_what_is_in_use_and_says_so(there: Node, tmp_path: Path) -> None:
    realised = await there.realise("acme/one")
    Leases(there.store.root / "leases").take("c1", tmp_path, realised.paths)
    _, said = await run(there, "gc", "--max-bytes", "0")
    assert "more than the bound; all that is left is in use" in said
    found = json.loads((await run(there, "gc", "--max-bytes", "0", "--json"))[1])
    assert (found["freed"], found["entries"], found["excess"]) == (0, 0, found["size"])
    assert found["dry_run"] is False


async def test_gc_keeps_to_the_settings(there: Node) -> None:
    await run(there, "gc", "--store-min-free-percent", "0")
    assert len(there.contents()) == 3
    await run(there, "gc", "--store-min-free-percent", "0", "--store-max-bytes", "0")
    assert not there.contents()


async def test_status_lists_the_environments(there: Node) -> None:
    _, said = await run(there, "status")
    assert "environments  1\n  acme/one:1  2 paths" in said
    assert "last used 2" in said
    (closure,) = json.loads((await run(there, "status", "--json"))[1])["closures"]
    assert (closure["environment"], closure["paths"], closure["in_use"]) == ("acme/one:1", 2, False)
    assert closure["bytes"] > 6000


async def test_verify_finds_nothing(there: Node) -> None:
    code, said = await run(there, "verify")
    assert code == 0
    assert said.startswith("2 store paths, ")
    assert said.endswith(": 0 broken\n")


async def test_verify_finds_and_repairs(there: Node, registry: SmallRegistry, tmp_path: Path) -> None:
    realised = await there.realise("acme/one")
    Leases(there.store.root / "leases").take("c1", tmp_path, realised.paths)
    damage(there, ONE, "one")
    code, said = await run(there, "verify")
    assert code == 1
    assert f"{ONE.store_path} has " in said
    assert "verify --repair fetches them anew" in said
    code, said = await run(there, "verify", "--repair", "--registry-url", registry.url)
    assert (code, "fetched anew" in said) == (0, True)
    assert (await run(there, "verify"))[0] == 0
    assert (there.store.path_of(ONE.store_path) / "bin" / "one").read_text(errors="replace").startswith("#!/bin/sh")
    assert there.is_tidy()


async def test_what_is_missing_is_fetched_too(there: Node, registry: SmallRegistry) -> None:
    there.store.path_of(LIB.store_path).rename(there.store.root / "elsewhere")
    code, said = await run(there, "verify", "--repair", "--registry-url", registry.url)
    assert (code, f"{LIB.store_path} is missing\n  fetched anew" in said) == (0, True)
    assert there.has(LIB)


async def test_without_a_registry_what_is_broken_goes(there: Node) -> None:
    damage(there, ONE, "one")
    code, said = await run(there, "verify", "--repair", "--json", "--registry-url", NOBODY)
    (broken,) = json.loads(said)["broken"]
    assert (code, broken["path"], broken["outcome"]) == (
        0,
        str(ONE.store_path),
        "removed; what needs it fetches it anew",
    )
    assert "cannot be reached" in broken["problem"]
    assert not there.has(ONE)
    assert (await there.realise("acme/one:1")).fetched_bytes == len(ONE.blob)


async def test_without_a_registry_what_a_container_uses_stays(there: Node, tmp_path: Path) -> None:
    realised = await there.realise("acme/one")
    Leases(there.store.root / "leases").take("c1", tmp_path, realised.paths)
    damage(there, ONE, "one")
    code, said = await run(there, "verify", "--repair", "--registry-url", NOBODY)
    assert (code, "left as it is, because a container uses it" in said) == (1, True)
    assert there.has(ONE)


async def test_a_registry_that_lies_mends_nothing(there: Node, registry: SmallRegistry) -> None:
    damage(there, ONE, "one")
    registry.fail(ONE, Fault(body=LIB.blob))
    code, said = await run(there, "verify", "--repair", "--registry-url", registry.url)
    assert (code, "removed" in said) == (0, True)


@pytest.mark.parametrize("command", ["gc", "verify"])
def test_a_place_without_a_store(tmp_path: Path, command: str) -> None:
    done = node(command, "--state-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path} has no store. Give the agent's --state-dir" in done.stderr
    assert not list(tmp_path.iterdir())

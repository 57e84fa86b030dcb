"""Environments that are at hand: for whom, and that one which is gone, wholly or in part, is never taken for one."""

import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Shown, Wanted
from shim_hooks.floxhub_token import FloxHubToken
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import Fault, Generation, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

HELLO, TOOL = Package.make("hello", program("hello")), Package.make("tool", program("tool"))
TOKEN = FloxHubToken("flox_pat_mine")


@pytest.fixture
async def node(registry: SmallRegistry, tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path, registry.url) as node:
        yield node


@pytest.fixture
def web(registry: SmallRegistry) -> Generation:
    return registry.push("acme/web", 1, HELLO, TOOL)


def pinned(generation: Generation, number: int | None = None) -> Wanted:
    lockfile = generation.lockfile.digest
    return Wanted(generation.environment, number or generation.number, lockfile, Mode.RUN)


def long_ago(node: Node, folder: Path | None = None) -> None:
    """The store has not changed for a while."""
    then = time.time_ns() - 3_600_000_000_000
    os.utime(folder or node.store.store_dir, ns=(then, then))


async def test_what_was_realised_is_at_hand(node: Node, web: Generation) -> None:
    assert node.realiser.at_hand(pinned(web)) is None
    realised = await node.realise(web)
    found = node.realiser.at_hand(pinned(web))
    assert found == replace(realised, fetched_bytes=0)
    assert node.realiser.is_here(found, Mode.RUN)


async def test_each_generation_of_a_lockfile_has_its_own_number(node: Node, web: Generation) -> None:
    await node.realise(web)
    found = node.realiser.at_hand(pinned(web, number=7))
    assert found is not None
    assert found.generation == 7


async def test_the_other_mode_is_another_environment(node: Node, web: Generation) -> None:
    await node.realise(web)
    assert node.realiser.at_hand(replace(pinned(web), mode=Mode.DEV)) is None


@pytest.mark.parametrize("settled", [pytest.param(True, id="long-ago"), pytest.param(False, id="just-now")])
async def test_a_path_that_is_gone_is_missed(node: Node, web: Generation, settled: bool) -> None:
    realised = await node.realise(web)
    if settled:
        long_ago(node)
    assert node.realiser.is_here(realised, Mode.RUN)
    node.store.public.path_of(TOOL.store_path).rename(node.store.root / "gone")
    assert not node.realiser.is_here(realised, Mode.RUN)
    assert node.realiser.at_hand(pinned(web)) is None


async def test_a_linked_environment_that_is_gone_is_missed(node: Node, web: Generation) -> None:
    realised = await node.realise(web)
    long_ago(node)
    assert node.realiser.is_here(realised, Mode.RUN)
    node.store.public.path_of(realised.env_path).rename(node.store.root / "gone")
    assert not node.realiser.is_here(realised, Mode.RUN)


async def test_what_is_gone_is_fetched_again(node: Node, web: Generation) -> None:
    realised = await node.realise(web)
    node.store.public.path_of(TOOL.store_path).rename(node.store.root / "gone")
    assert not node.realiser.is_here(realised, Mode.RUN)
    await node.realise(web)
    found = node.realiser.at_hand(pinned(web))
    assert found is not None
    assert node.realiser.is_here(found, Mode.RUN)


async def test_an_environment_without_its_record_is_not_at_hand(
    registry: SmallRegistry, node: Node, web: Generation
) -> None:
    """With its record, what says that its paths belong together is gone; the registry says it again."""
    realised = await node.realise(web)
    (document,) = (node.store.root / "closures").glob("*.json")
    document.unlink()
    assert not node.realiser.is_here(realised, Mode.RUN)
    assert (await node.realise(web)).fetched_bytes == 0
    assert document.exists()
    assert node.realiser.is_here(realised, Mode.RUN)


async def test_a_use_is_noted_for_the_collection(node: Node, web: Generation) -> None:
    realised = await node.realise(web)
    (document,) = (node.store.root / "closures").glob("*.json")
    os.utime(document, (0, 0))
    assert node.realiser.is_here(realised, Mode.RUN)
    assert document.stat().st_mtime > 0


async def test_nobody_is_let_in_who_has_to_be_asked_about(registry: SmallRegistry, node: Node) -> None:
    registry.private["acme/secret"] = TOKEN
    secret = registry.push("acme/secret", 1, TOOL)
    mine = replace(pinned(secret), token=TOKEN)
    await node.realise(mine)
    assert node.realiser.at_hand(mine) is None
    assert node.realiser.at_hand(pinned(secret)) is None
    assert node.realiser.at_hand(replace(pinned(secret), shown=Shown.TO_ITS_PODS)) is not None


async def test_an_image_of_another_environment_with_the_same_lockfile_is_none_of_it(
    node: Node, web: Generation
) -> None:
    await node.realise(web)
    assert node.realiser.at_hand(replace(pinned(web), environment=type(web.environment)("acme", "other"))) is None


async def test_the_live_generation_is_pinned_down(registry: SmallRegistry, node: Node, web: Generation) -> None:
    wanted = Wanted(web.environment, None, None, Mode.RUN)
    assert await node.realiser.pin_down(wanted, deadline_s=20) == replace(pinned(web), shown=Shown.TO_ALL)
    registry.push("acme/web", 2, HELLO)
    assert (await node.realiser.pin_down(wanted, deadline_s=20)).generation == 2


async def test_while_the_registry_is_away_it_is_what_it_was_last(
    registry: SmallRegistry, node: Node, web: Generation
) -> None:
    wanted = Wanted(web.environment, None, None, Mode.RUN)
    await node.realise(wanted)
    registry.fail(f"{web.environment}/manifests/live", Fault(status=503))
    assert await node.realiser.pin_down(wanted, deadline_s=20) == replace(pinned(web), shown=Shown.TO_ALL)

"""Whether what the registry said last is still so: asked cheaply, and believed only where it is the whole answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flox_formats.digest import Digest
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Shown, Wanted
from shim_hooks.errors import RegistryRefused
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.registry.heads import RegistryHeads
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import Fault, Generation, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

HELLO, TOOL = Package.make("hello", program("hello")), Package.make("tool", program("tool"))
LIVE = "/v2/flox/empty/acme/web/manifests/live"
OTHER = Digest.of(b"other")


@pytest.fixture
async def node(registry: SmallRegistry, tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path, registry.url) as node:
        yield node


@pytest.fixture
def web(registry: SmallRegistry) -> Generation:
    return registry.push("acme/web", 1, HELLO)


def wanted(web: Generation, *, generation: int | None = None, token: FloxHubToken | None = None) -> Wanted:
    return Wanted(web.environment, generation, None, Mode.RUN, token)


async def asked(node: Node, wish: Wanted) -> Wanted | None:
    return await asyncio.to_thread(node.realiser.pin_down_at_once, wish)


# ---- the question of a create ----


@pytest.mark.parametrize("generation", [None, 1], ids=["live", "numbered"])
async def test_what_has_not_changed_is_told_at_once(
    registry: SmallRegistry, node: Node, web: Generation, generation: int | None
) -> None:
    wish = wanted(web, generation=generation)
    assert await asked(node, wish) is None  # nobody ever asked in full
    pinned = await node.realiser.pin_down(wish, deadline_s=20)
    registry.heads.clear()
    assert await asked(node, wish) == pinned
    assert (pinned.generation, pinned.lockfile, pinned.shown) == (1, web.lockfile.digest, Shown.TO_ALL)
    assert [head.split(b" ")[0] for head in registry.heads] == [b"HEAD"]


async def test_what_has_changed_is_asked_in_full(registry: SmallRegistry, node: Node, web: Generation) -> None:
    await node.realiser.pin_down(wanted(web), deadline_s=20)
    second = registry.push("acme/web", 2, HELLO, TOOL)
    assert await asked(node, wanted(web)) is None
    assert (await node.realiser.pin_down(wanted(web), deadline_s=20)).generation == 2
    found = await asked(node, wanted(web))
    assert found is not None
    assert found.lockfile == second.lockfile.digest


async def test_what_became_private_is_asked_in_full(registry: SmallRegistry, node: Node, web: Generation) -> None:
    await node.realiser.pin_down(wanted(web), deadline_s=20)
    registry.private["acme/web"] = FloxHubToken("flox_pat_mine")
    assert await asked(node, wanted(web)) is None
    with pytest.raises(RegistryRefused):
        await node.realiser.pin_down(wanted(web), deadline_s=20)


async def test_what_a_token_opened_is_told_to_nobody_at_once(
    registry: SmallRegistry, node: Node, web: Generation
) -> None:
    mine = FloxHubToken("flox_pat_mine")
    registry.private["acme/web"] = mine
    await node.realiser.pin_down(wanted(web, token=mine), deadline_s=20)
    registry.private.clear()
    assert await asked(node, wanted(web, token=mine)) is None
    assert await asked(node, wanted(web)) is None


# ---- the connection ----


@pytest.fixture
def heads(registry: SmallRegistry) -> RegistryHeads:
    return at(f"{registry.url}/")


def at(url: str) -> RegistryHeads:
    heads = RegistryHeads(url, connect_timeout_s=5)
    assert heads.digest_of(LIVE) is None
    heads.look_up()
    return heads


async def digest(heads: RegistryHeads, path: str = LIVE) -> Digest | None:
    return await asyncio.to_thread(heads.digest_of, path)


async def test_a_connection_is_kept_for_the_next_question(heads: RegistryHeads, web: Generation) -> None:
    for _ in range(3):
        assert await digest(heads) == Digest.of(web.index)
        assert len(heads._kept) == 1
    heads.close()


async def test_a_connection_that_was_closed_meanwhile_is_made_anew(web: Generation) -> None:
    """By a registry that closes each after its answer, and does not say so."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nDocker-Content-Digest: {OTHER}\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        heads = at(f"http://127.0.0.1:{port}")
        assert [await digest(heads) for _ in range(3)] == [OTHER] * 3
        heads.close()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status=404), id="not-there"),
        pytest.param(Fault(status=500), id="ill"),
        pytest.param(Fault(status=307, headers={"Location": "http://example.invalid/"}), id="elsewhere"),
        pytest.param(Fault(headers={"Docker-Content-Digest": "sha256:short"}), id="no-digest"),
        pytest.param(Fault(headers={"X": "x" * 70_000}), id="endless"),
        pytest.param(Fault(headers={"Content-Length": "many"}), id="garbled"),
    ],
)
async def test_no_good_answer_is_none(
    registry: SmallRegistry, heads: RegistryHeads, web: Generation, fault: Fault
) -> None:
    registry.fail(LIVE, fault)
    assert await digest(heads) is None
    registry.faults.clear()
    assert await digest(heads) == Digest.of(web.index)
    heads.close()


async def test_a_registry_that_says_nothing_is_not_waited_for() -> None:
    gate = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        heads = at(f"http://127.0.0.1:{port}")
        assert (await digest(heads), heads.wants_address) == (None, False)
        gate.set()
    assert (await digest(heads), heads.wants_address) == (None, True)  # nobody listens there any more


async def test_tls_is_left_to_who_asks_in_full() -> None:
    heads = at("https://127.0.0.1:1")
    assert (await digest(heads), heads.wants_address) == (None, False)

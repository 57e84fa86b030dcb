"""What an agent is fetching, asked over its real socket by `floxbridge-node status`."""

import asyncio
import contextlib
import io
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shim_hooks.agent_listener import listening
from shim_hooks.agent_socket import AgentServer
from shim_hooks.fetches_question import ask
from shim_hooks.log import Log
from tests.integration.node_rig import Node
from tests.integration.small_registry import Fault, Package, SmallRegistry, program
from tests.integration.test_agent_socket import Answers
from tests.integration.test_node_cli import node as floxbridge_node

pytestmark = pytest.mark.anyio

BIG = Package.make("big", program("big", size=100_000))


@contextlib.asynccontextmanager
async def answering(path: Path, node: Node) -> AsyncIterator[None]:
    stop = asyncio.Event()
    with listening(path) as listener:
        server = AgentServer(Answers(), Log(io.StringIO()), under_way=node.realiser.under_way)
        serving = asyncio.create_task(server.serve(listener, stop, grace_s=20))
        try:
            yield
        finally:
            stop.set()
            await serving


async def status(path: Path, node: Node, *arguments: str) -> str:
    asked = ("status", "--socket", str(path), "--state-dir", str(node.store.root), *arguments)
    done = await asyncio.to_thread(floxbridge_node, *asked)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


async def test_status_tells_what_is_on_its_way(registry: SmallRegistry, node: Node, tmp_path: Path) -> None:
    path, hold = tmp_path / "run" / "agent.sock", asyncio.Event()
    registry.push("acme/web", 1, BIG)
    async with answering(path, node):
        assert "\nfetching  0\n" in await status(path, node)
        registry.fail(BIG, Fault(hold=hold))
        coming = asyncio.create_task(node.realise("acme/web"))
        await registry.held.wait()
        shown = await status(path, node)
        assert (
            f"\nfetching  1\n  acme/web: 0 %, 0.0 of {len(BIG.blob) / 1000:.1f} kB, 0 bytes/s, 0 of 1 paths\n" in shown
        )
        assert json.loads(await status(path, node, "--json"))["fetches"] == [
            {
                "environment": "acme/web",
                "fetched_bytes": 0,
                "wanted_bytes": len(BIG.blob),
                "fetched_paths": 0,
                "wanted_paths": 1,
                "bytes_per_s": 0,
            }
        ]
        hold.set()
        await coming
        assert json.loads(await status(path, node, "--json"))["fetches"] == []


async def test_without_an_agent_nobody_knows(node: Node, tmp_path: Path) -> None:
    assert "fetching" not in await status(tmp_path / "agent.sock", node)
    assert "fetches" not in json.loads(await status(tmp_path / "agent.sock", node, "--json"))


async def test_an_agent_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "agent.sock"))
        silent.listen()
        assert await asyncio.to_thread(ask, tmp_path / "agent.sock") is None

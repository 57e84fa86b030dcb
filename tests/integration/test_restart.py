"""An agent that is stopped and started again while containers are created: none of them fails."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shim_hooks.bundle.pinned import MARK
from shim_hooks.launcher.build import build_launcher
from tests.conftest import needs
from tests.integration.small_registry import KEY, Fault, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

WEB = Package.make("web", program("web"))
BIG = Package.make("big", program("big", size=100_000))


class Node:
    """A launcher and its bundles, and agents as programs, one after the other."""

    def __init__(self, folder: Path, registry_url: str) -> None:
        needs("cc")
        self._folder, self._socket = folder, folder / "run" / "agent.sock"
        self._launcher = folder / "floxbridge-runc"
        build_launcher(self._launcher)
        self._launcher.with_name("floxbridge-runc.conf").write_text(f"runtime=/bin/true\nsocket={self._socket}\n")
        places = ["--socket", str(self._socket), "--state-dir", str(folder / "state"), "--stop-grace-s", "0.1"]
        self._agent = [sys.executable, "-m", "shim_hooks.cli", "agent", *places]
        self._agent += ["--registry-url", registry_url, "--trusted-key", str(KEY.public)]
        self._process: Process | None = None
        self.created = asyncio.Condition()
        self.count = 0

    async def start_agent(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("FLOXBRIDGE_")}
        self._process = await asyncio.create_subprocess_exec(*self._agent, stderr=DEVNULL, env=env)

    async def end_agent(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        code, self._process = await self._process.wait(), None
        return code

    async def aclose(self) -> None:
        if self._process is not None:
            await self.end_agent(signal.SIGKILL)

    async def create(self, name: str, environment: str = "acme/web") -> None:
        """Fails unless the container is in the environment."""
        bundle = self._folder / "bundles" / name
        (bundle / "rootfs").mkdir(parents=True)
        document = {
            "ociVersion": "1.0.2",
            "process": {"args": ["web"], "cwd": "/", "env": ["PATH=/bin"]},
            "root": {"path": "rootfs"},
            "annotations": {"flox.dev/environment": environment},
        }
        (bundle / "config.json").write_text(json.dumps(document))
        await self._launch("create", "--bundle", str(bundle), name)
        assert MARK in json.loads((bundle / "config.json").read_text())["annotations"]
        async with self.created:
            self.count += 1
            self.created.notify_all()

    async def exec(self, name: str) -> list[str]:
        """The variables that a process which joins the container gets."""
        process = self._folder / "process.json"
        process.write_text(json.dumps({"args": ["web"], "cwd": "/", "env": ["PATH=/bin"]}))
        await self._launch("exec", "--process", str(process), name)
        env: list[str] = json.loads(process.read_text())["env"]
        return env

    async def _launch(self, *arguments: str) -> None:
        launcher = await asyncio.create_subprocess_exec(str(self._launcher), *arguments, stderr=PIPE)
        _, said = await launcher.communicate()
        assert launcher.returncode == 0, said.decode()


@pytest.fixture
async def node(registry: SmallRegistry, tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path, registry.url)
    await node.start_agent()
    yield node
    await node.aclose()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_restarts_under_load(registry: SmallRegistry, node: Node, how: signal.Signals) -> None:
    registry.push("acme/web", 1, WEB)
    over = asyncio.Event()

    async def keep_creating(worker: int) -> None:
        number = 0
        while not over.is_set():
            await node.create(f"c{worker}-{number}")
            number += 1

    async def keep_joining() -> None:
        while not over.is_set():
            await node.exec("first")

    await node.create("first")
    working = [asyncio.create_task(keep_creating(worker)) for worker in range(4)]
    working.append(asyncio.create_task(keep_joining()))
    for _ in range(3):
        await node.end_agent(how)
        await node.start_agent()
        enough = node.count + 8
        async with asyncio.timeout(60), node.created:
            await node.created.wait_for(lambda: node.count > enough)  # noqa: B023
    over.set()
    await asyncio.gather(*working)
    assert [entry for entry in await node.exec("first") if entry.startswith("FLOX_ENV=")]


async def test_what_is_being_fetched_goes_on_with_the_next_agent(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/big", 1, BIG)
    registry.fail(BIG, Fault(cut=40_000, hold=asyncio.Event(), times=1))
    creating = asyncio.create_task(node.create("c1", "acme/big"))
    await registry.held.wait()
    assert await node.end_agent(signal.SIGTERM) == 0
    await node.start_agent()
    await creating

"""The whole agent but its process: real sockets, real leases, a real store, a registry that may hang; many at once."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shim_hooks.agent import Agent
from shim_hooks.agent_listener import listening
from shim_hooks.agent_socket import AgentServer
from shim_hooks.log import Log
from shim_hooks.store.collector import Bound, Collector
from shim_hooks.store.container_stores import ContainerStores
from shim_hooks.store.leases import Leases
from shim_hooks.store_care import StoreCare
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import Fault, Generation, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

LIB = Package.make("lib", program("lib", size=30_000))
ONE = Package.make("one", program("one", size=30_000), [LIB.store_path])
TWO = Package.make("two", program("two", size=30_000), [LIB.store_path])
MANY = 200


class WholeAgent:
    def __init__(self, folder: Path, node: Node) -> None:
        self.folder, self.node, self.log = folder, node, io.StringIO()
        self.leases = Leases(node.store.root / "leases")
        self.socket = folder / "run" / "agent.sock"

    def bundle(self, name: str, *, annotations: dict[str, str], env: list[str]) -> Path:
        bundle = self.folder / "bundles" / name
        (bundle / "rootfs").mkdir(parents=True)
        process = {"args": ["web"], "cwd": "/", "env": ["PATH=/bin", *env], "user": {"uid": 0, "gid": 0}}
        document = {"ociVersion": "1.0.2", "process": process, "root": {"path": "rootfs"}, "mounts": []}
        (bundle / "config.json").write_text(json.dumps({**document, "annotations": annotations}))
        return bundle

    async def create(self, name: str, environment: str | Generation, *, deadline_ms: int = 60_000) -> str:
        """What the launcher gets for an answer."""
        if isinstance(environment, str):
            bundle = self.bundle(name, annotations={"flox.dev/environment": environment}, env=[])
        else:
            image = {
                "ENVIRONMENT": environment.environment,
                "GENERATION": environment.number,
                "LOCKFILE": environment.lockfile.digest,
            }
            env = [f"FLOXBRIDGE_{key}={value}" for key, value in image.items()]
            bundle = self.bundle(name, annotations={}, env=env)
        reader, writer = await asyncio.open_unix_connection(self.socket)
        writer.write(f"floxbridge/1\0create\0{bundle}\0{name}\0{deadline_ms}\0".encode())
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer.decode()


@asynccontextmanager
async def whole_agent(
    folder: Path, registry: SmallRegistry, *, lookup_timeout_s: float = 20
) -> AsyncIterator[WholeAgent]:
    async with running_node(folder / "state", registry.url, lookup_timeout_s=lookup_timeout_s) as node:
        whole = WholeAgent(folder, node)
        log = Log(whole.log)
        agent = Agent(node.realiser, whole.leases, ContainerStores(folder / "state" / "mutable"), log)
        stop = asyncio.Event()
        with listening(whole.socket) as listener:
            serving = asyncio.create_task(AgentServer(agent, log).serve(listener, stop, grace_s=20))
            try:
                yield whole
            finally:
                stop.set()
                await serving


async def test_two_hundred_creates_at_once(registry: SmallRegistry, tmp_path: Path) -> None:
    """Of environments that are not there, by annotation and by image, while the store is collected without a pause."""
    first, _ = registry.push("acme/one", 1, ONE, LIB), registry.push("acme/two", 1, TWO, LIB)
    wanted: list[str | Generation] = [first, "acme/one", "acme/two", "acme/two:1"]
    async with whole_agent(tmp_path, registry) as agent:
        care = StoreCare(Collector(agent.node.store, agent.leases), Bound(0, 0), Log(agent.log))
        caring = asyncio.create_task(care.run(interval_s=0.001))
        creates = (agent.create(f"c{number}", wanted[number % len(wanted)]) for number in range(MANY))
        answers = await asyncio.gather(*creates)
        caring.cancel()
        await asyncio.wait([caring])
        assert set(answers) == {"ok\n"}
        assert len(agent.leases.container_ids()) == MANY
        for container_id in agent.leases.container_ids():
            lease = agent.leases.find(container_id)
            assert lease is not None
            assert not agent.node.store.public.missing(lease.paths)
        assert set(registry.blob_requests(ONE, TWO, LIB).values()) == {1}


async def test_a_registry_that_hangs_does_not_hang_what_is_there(registry: SmallRegistry, tmp_path: Path) -> None:
    generation, gate = registry.push("acme/one", 1, ONE, LIB), asyncio.Event()
    async with whole_agent(tmp_path, registry, lookup_timeout_s=0.5) as agent:
        assert await agent.create("first", "acme/one") == "ok\n"
        registry.fail("", Fault(hold=gate))
        hung = asyncio.create_task(agent.create("other", "acme/two", deadline_ms=5000))
        await registry.held.wait()
        answers = await asyncio.gather(
            *(agent.create(f"image-{number}", generation) for number in range(20)),
            *(agent.create(f"pod-{number}", "acme/one") for number in range(20)),
        )
        assert set(answers) == {"ok\n"}
        assert "did not answer" in await hung
        gate.set()

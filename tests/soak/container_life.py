"""A program in which containers come and go, their agents are killed again and again, and it looks at what is left.

Two agents at a time, each a fork, as at a take-over: they create containers, of the same ids for two runtimes, with and
without a store of their own, sweep, collect and repair, until SIGKILL comes at some moment. Some paths are damaged
before. With `--full` the disk has next to no room.

After that a bundle is as it was, or edited whole; who has an edited one has a lease, its paths and its own store; and
what was damaged is the only thing that is not as it should be, until it is repaired.
"""

import argparse
import asyncio
import io
import json
import os
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flox_formats.nar import dump
from flox_formats.signature import PublicKey, TrustedKeys
from shim_hooks.agent import Agent
from shim_hooks.bundle.file import read_spec
from shim_hooks.bundle.pinned import PinnedGeneration
from shim_hooks.environment.repair import Repair
from shim_hooks.environment.verify_links import verify_links
from shim_hooks.errors import StoreFailed
from shim_hooks.launcher_protocol import CreateRequest
from shim_hooks.log import Log
from shim_hooks.registry.client import RegistryClient
from shim_hooks.store.collector import Bound, Collector
from shim_hooks.store.container_stores import ContainerStores
from shim_hooks.store.leases import Leases
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.verify import verify
from tests.integration.node_rig import Node, running_node

AGENTS = ("a", "b")
MUTABLE = "flox.dev/nix-mutable"


@dataclass
class Living:
    """What an agent consists of."""

    node: Node
    leases: Leases
    stores: ContainerStores
    agent: Agent
    repair: Repair


class Lives:
    def __init__(self, state: Path, bundles: Path, url: str, key: PublicKey, environments: list[str]) -> None:
        self._state, self._bundles, self._url, self._trusted = state, bundles, url, TrustedKeys([key])
        self._environments = environments
        self._right = dict[str, bytes]()
        self._damaged = set[str]()
        self.seen = Counter[str]()

    async def live(self, who: str, random_: random.Random, *, full: bool) -> None:
        """Until killed. Its containers are its own; what it sweeps and collects is everybody's."""
        async with self._living() as living:
            while True:
                what = random_.choices(("create", "end", "sweep", "collect", "repair"), (6, 3, 2, 2, 1))[0]
                with suppress(*(StoreFailed,) if full else ()):
                    await self._do(what, living, who, random_)

    @asynccontextmanager
    async def _living(self) -> AsyncIterator[Living]:
        registry = RegistryClient(self._url, connect_timeout_s=5, lookup_timeout_s=20)
        async with running_node(self._state, self._url, trusted=self._trusted) as node:
            leases, stores = Leases(self._state / "leases", ended=node.store.note_use), self._stores()
            agent = Agent(node.realiser, leases, stores, Log(io.StringIO()))
            try:
                yield Living(node, leases, stores, agent, Repair(registry.with_token(None), node.store, leases))
            finally:
                await registry.aclose()

    def _stores(self) -> ContainerStores:
        return ContainerStores(self._state / "mutable")

    async def _do(self, what: str, living: Living, who: str, random_: random.Random) -> None:
        match what:
            case "create":
                await self._create(living.agent, who, random_)
            case "end":
                self._end(who, f"c{random_.randrange(4)}")
            case "sweep":
                await asyncio.to_thread(living.leases.sweep)
                await asyncio.to_thread(living.stores.sweep, living.leases.container_ids)
            case "collect":
                collector = Collector(living.node.store, living.leases)
                await asyncio.to_thread(collector.collect, Bound(random_.choice((0, 200_000)), 0))
            case "repair":
                await _mend(living.node.store, living.repair)

    async def _create(self, agent: Agent, who: str, random_: random.Random) -> None:
        """A container, which writes to its store if that is its own. One of its id ends before."""
        name, mutable = f"c{random_.randrange(4)}", random_.random() < 0.4
        self._end(who, name)
        annotations = {"flox.dev/environment": random_.choice(self._environments)}
        if mutable:
            annotations[MUTABLE] = "true"
        request = CreateRequest(self._new_bundle(who, name, annotations), name, 60, who.encode())
        await agent.create(request)
        if mutable:
            with suppress(OSError):  # on a full disk a container can do no better
                (self._state / "mutable" / request.key / "upper" / "/".join("d" * 20)).mkdir(parents=True)

    def _new_bundle(self, who: str, name: str, annotations: dict[str, str]) -> Path:
        """As a runtime makes it: before it is whole, nobody is told of it."""
        bundle = self._bundles / f"{who}-{name}"
        growing = bundle.with_name(f"~{bundle.name}")
        shutil.rmtree(growing, ignore_errors=True)
        (growing / "rootfs").mkdir(parents=True)
        process = {"args": ["web"], "cwd": "/", "env": ["PATH=/bin"]}
        document = {"process": process, "root": {"path": "rootfs"}, "annotations": annotations, "mounts": []}
        (growing / "config.json").write_text(json.dumps(document))
        growing.rename(bundle)
        return bundle

    def _end(self, who: str, name: str) -> None:
        bundle = self._bundles / f"{who}-{name}"
        gone = bundle.with_name(f"~gone-{bundle.name}")
        shutil.rmtree(gone, ignore_errors=True)
        with suppress(FileNotFoundError):
            bundle.rename(gone)

    async def fetch_all(self) -> None:
        async with running_node(self._state, self._url, trusted=self._trusted) as node:
            for environment in self._environments:
                await node.realise(environment)

    def learn(self) -> None:
        """What each entry of the store has to look like, whenever it is there."""
        self._right = {entry.name: b"".join(dump(entry)) for entry in (self._state / "store").iterdir()}

    def damage(self, random_: random.Random) -> None:
        """A file of a path that was fetched, as a disk does it."""
        paths = [entry for entry in (self._state / "store").iterdir() if "-environment-" not in entry.name]
        if paths:
            entry = random_.choice(paths)
            file = next(file for file in sorted(entry.rglob("*")) if file.is_file())
            with file.open("r+b") as opened:
                opened.write(b"?")
            self._damaged.add(entry.name)

    async def repair(self) -> None:
        async with self._living() as living:
            await _mend(living.node.store, living.repair)

    def check(self) -> None:
        store, leases = NodeStore(self._state), Leases(self._state / "leases")
        assert len(list((self._state / "staging").iterdir())) == 1, "only our own place is left in staging"
        wrong = {each.name for each in store.store_dir.iterdir() if b"".join(dump(each)) != self._right[each.name]}
        assert wrong <= self._damaged, f"{wrong - self._damaged} are not whole"
        self.seen.update(repaired=len(self._damaged - wrong), damaged=len(wrong))
        self._damaged = wrong
        leases.sweep()
        self._stores().sweep(leases.container_ids)
        keys = set(leases.container_ids())
        assert {entry.name for entry in (self._state / "mutable").glob("*")} <= keys, "a store of nobody's is left"
        for bundle in self._bundles.glob("[!~]*"):
            self._check_bundle(bundle, leases, store)
        store.close()

    def _check_bundle(self, bundle: Path, leases: Leases, store: NodeStore) -> None:
        """A create that was killed before the edit may have a lease on what it was just about to miss."""
        spec, (who, _, name) = read_spec(bundle), bundle.name.partition("-")
        self.seen["bundles"] += 1
        if PinnedGeneration.of_mark(spec.annotations) is None:
            return  # its create was killed before the edit, or refused
        key = CreateRequest(bundle, name, 1, who.encode()).key
        self.seen["edited"] += 1
        lease = leases.find(key)
        assert lease is not None, f"{bundle.name} is edited and has no lease"
        assert not store.public.missing(lease.paths), f"{bundle.name} lost a path that it has a lease on"
        if MUTABLE in spec.annotations:
            self.seen["mutable"] += 1
            assert (self._state / "mutable" / key / "upper").is_dir(), f"{bundle.name} lost its own store"


async def _mend(store: NodeStore, repair: Repair) -> None:
    """As `floxbridge-node verify --repair` does."""
    for broken in (await asyncio.to_thread(verify, store)).broken:
        await repair.mend(broken)
    for links in (await asyncio.to_thread(verify_links, store, ())).broken:
        await repair.mend_links(links)


def _fork(lives: Lives, who: str, seed: int, *, full: bool) -> int:
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(lives.live(who, random.Random(f"{who}{seed}"), full=full))
        finally:
            traceback.print_exc()
            os._exit(1)
    return child


def _fill(disk: Path, *, leave: int) -> Path:
    filler, free = disk / "filler", shutil.disk_usage(disk).free
    with suppress(OSError), filler.open("wb") as file:
        file.write(bytes(max(0, free - leave)))
    return filler


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", type=PublicKey.parse, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("environments", nargs="+")
    asked = parser.parse_args()
    random_ = random.Random(asked.seed)
    lives = Lives(asked.state, asked.bundles, asked.url, asked.key, asked.environments)
    asyncio.run(lives.fetch_all())
    lives.learn()
    for number in range(asked.kills):
        if random_.random() < 0.5:
            lives.damage(random_)  # before: a file that is empty needs room for it
        filler = _fill(asked.state, leave=random_.randrange(300_000)) if asked.full else None
        children = [_fork(lives, who, asked.seed + number, full=asked.full) for who in AGENTS]
        time.sleep(random_.uniform(0, 0.8))  # at any instruction: there is no event to wait for
        for child in children:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), f"agent {number} ended by itself"
        lives.check()
        if filler is not None:
            filler.unlink()
    asyncio.run(lives.repair())
    asyncio.run(lives.fetch_all())
    lives.check()
    lives.check()
    print(json.dumps({"kills": asked.kills, **lives.seen}))


if __name__ == "__main__":
    main()

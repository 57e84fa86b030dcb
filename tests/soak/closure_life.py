"""A program that lives the whole life of closures on one store, is killed again and again, and looks at what is left.

Two lives at a time, each a fork: fetch, unpack, link, lease, let go and collect, until SIGKILL comes at some moment.
After that a store must hold only what is whole, and whatever has a lease; what was under way must be gone.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flox_formats.environment import EnvironmentRef
from flox_formats.nar import dump
from flox_formats.signature import PublicKey, TrustedKeys
from flox_formats.store_path import StorePath
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Wanted
from shim_hooks.environment.verify_links import verify_links
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.store.collector import Bound, Collector
from shim_hooks.store.leases import Leases
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.store_folders import SHARED, private_folders
from shim_hooks.store.verify import verify
from tests.integration.node_rig import running_node

PRIVATE_OWNER = "vault/"


class Lives:
    """Pods with the `token` are shown every environment, and those without one the `public` ones."""

    def __init__(self, state: Path, url: str, key: PublicKey, token: FloxHubToken, environments: list[str]) -> None:
        self._state, self._url, self._trusted = state, url, TrustedKeys([key])
        self._token, self._environments = token, environments
        self._right = dict[str, bytes]()
        self._secret = frozenset[str]()

    async def live(self, who: str, random_: random.Random) -> None:
        """Until killed. Its containers are its own."""
        async with running_node(self._state, self._url, trusted=self._trusted) as node:
            leases = Leases(self._state / "leases")
            collector = Collector(node.store, leases)
            while True:
                what = random_.choices(("run", "end", "collect"), (5, 3, 2))[0]
                if what == "run":
                    name = f"{who}{random_.randrange(4)}"
                    async with node.holding(self._wanted(random_.choice(self._environments), random_)) as realised:
                        bundle = self._state / "bundles" / name
                        bundle.mkdir(parents=True, exist_ok=True)
                        await asyncio.to_thread(leases.take, name, bundle, realised.paths)
                elif what == "end":
                    with suppress(FileNotFoundError):
                        (self._state / "bundles" / f"{who}{random_.randrange(4)}").rmdir()
                else:
                    await asyncio.to_thread(collector.collect, Bound(random_.choice((0, 200_000)), 0))

    async def fetch_all(self) -> None:
        async with running_node(self._state, self._url, trusted=self._trusted) as node:
            for environment in self._environments:
                realised = await node.realise(self._wanted(environment))
                assert not realised.folders.missing(realised.paths)

    def learn(self) -> None:
        """What each entry of the store has to look like, whenever it is there, and which are not for everybody."""
        self._secret = frozenset(entry.name for entry in self._entries()) - self._shared()
        self._right = {entry.name: b"".join(dump(entry)) for entry in self._entries()}

    def _entries(self) -> Iterator[Path]:
        """Of the folder that every container sees, and of those of the environments."""
        for folder in (self._state / SHARED, *private_folders(self._state)):
            yield from folder.iterdir()

    def _shared(self) -> frozenset[str]:
        return frozenset(entry.name for entry in (self._state / SHARED).iterdir())

    def _wanted(self, environment: str, random_: random.Random | None = None) -> Wanted:
        """By a pod with a token where it needs one, and with `random_` also where it does not."""
        ref = EnvironmentRef.parse(environment)
        has_token = environment.startswith(PRIVATE_OWNER) or (random_ is not None and random_.random() < 0.3)
        return Wanted(ref.environment, None, None, Mode.RUN, self._token if has_token else None)

    def is_disturbed(self) -> bool:
        """Something half-made lies in the staging area."""
        return any(entry for place in (self._state / "staging").iterdir() for entry in place.iterdir())

    def check(self) -> None:
        store, leases = NodeStore(self._state), Leases(self._state / "leases")
        assert len(list((self._state / "staging").iterdir())) == 1, "only our own place is left in staging"
        for entry in self._entries():
            assert b"".join(dump(entry)) == self._right[entry.name], f"{entry.name} is not whole"
        assert not self._secret & self._shared(), "everybody sees what is private"
        lost = verify(store).broken
        for broken in lost:
            assert broken.why == "is missing", f"{broken.path.store_path} {broken.why}"
        self._check_notes(store, {broken.path.store_path for broken in lost})
        leases.sweep()
        for container_id in leases.container_ids():
            lease = leases.find(container_id)
            assert lease is not None
            here = [folders for folders in store.all_folders() if not folders.missing(lease.paths)]
            assert here, f"{container_id} lost a path that it has a lease on"
        store.close()

    def _check_notes(self, store: NodeStore, lost: set[StorePath]) -> None:
        """Every linked environment is what its note makes of it, and every answer of the registry is remembered."""
        links = verify_links(store, lost)
        assert not links.broken, links.broken
        nameless = [each.path for each in links.not_compared if each.path.name.startswith("environment-")]
        assert not set(nameless) - store.linked.read().keys(), "an environment without a note"
        for environment in self._environments:
            assert store.known_generations.recall(EnvironmentRef.parse(environment)) is not None


def _fork(lives: Lives, who: str, seed: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(lives.live(who, random.Random(f"{who}{seed}")))
        finally:
            traceback.print_exc()
            os._exit(1)
    return child


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", type=PublicKey.parse, required=True)
    parser.add_argument("--token", type=FloxHubToken, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("environments", nargs="+")
    asked = parser.parse_args()
    random_ = random.Random(asked.seed)
    lives = Lives(asked.state, asked.url, asked.key, asked.token, asked.environments)
    asyncio.run(lives.fetch_all())
    lives.learn()
    disturbed = 0
    for number in range(asked.kills):
        children = [_fork(lives, who, asked.seed + number) for who in ("a", "b")]
        time.sleep(random_.uniform(0, 0.4))  # at any instruction: there is no event to wait for
        for child in children:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), f"life {number} ended by itself"
        disturbed += lives.is_disturbed()
        lives.check()
    asyncio.run(lives.fetch_all())
    lives.check()
    print(json.dumps({"kills": asked.kills, "disturbed": disturbed}))


if __name__ == "__main__":
    main()

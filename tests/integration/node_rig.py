"""A node's realiser over a real store and a real connection, with the log it writes."""

import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flox_formats.environment import EnvironmentRef
from flox_formats.signature import TrustedKeys
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realise import Realiser
from shim_hooks.environment.realised import Realised, Wanted
from shim_hooks.log import Log
from shim_hooks.registry.client import RegistryClient
from shim_hooks.store.node_store import NodeStore
from tests.integration.small_registry import KEY, SYSTEM, Generation, Package

DEADLINE_S = 60.0


@dataclass
class Node:
    realiser: Realiser
    store: NodeStore
    stream: io.StringIO

    async def realise(self, wanted: str | Generation | Wanted, *, deadline_s: float = DEADLINE_S) -> Realised:
        """A reference as an annotation has it, or a generation as its image names it."""
        return await self.realiser.realise(_wanted(wanted), deadline_s=deadline_s)

    def holding(self, wanted: str | Generation | Wanted) -> AbstractAsyncContextManager[Realised]:
        return self.realiser.holding(_wanted(wanted), deadline_s=DEADLINE_S)

    def contents(self) -> set[str]:
        """What lies in the store, by base name."""
        return {entry.name for entry in self.store.store_dir.iterdir()}

    def has(self, package: Package) -> bool:
        return self.store.public.has(package.store_path)

    def is_tidy(self) -> bool:
        """Nothing half-made is left, and nothing for another try."""
        staged = [entry for place in (self.store.root / "staging").iterdir() for entry in place.iterdir()]
        return not staged and not self.partial_sizes()

    def partial_sizes(self) -> list[int]:
        """How much there is of each blob that did not come whole."""
        return [entry.stat().st_size for entry in (self.store.root / "partial").iterdir()]

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]


def _wanted(wanted: str | Generation | Wanted) -> Wanted:
    if isinstance(wanted, str):
        ref = EnvironmentRef.parse(wanted)
        return Wanted(ref.environment, ref.generation, None, Mode.RUN)
    if isinstance(wanted, Generation):
        return Wanted(wanted.environment, wanted.number, wanted.lockfile.digest, Mode.RUN)
    return wanted


@asynccontextmanager
async def running_node(
    state: Path,
    url: str,
    *,
    trusted: TrustedKeys | None = None,
    public: TrustedKeys | None = None,
    lookup_timeout_s: float = 20,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Node]:
    registry = RegistryClient(
        url, connect_timeout_s=5, lookup_timeout_s=lookup_timeout_s, closure_timeout_s=20, retry_pause_s=0
    )
    store, stream = NodeStore(state), io.StringIO()
    keys = TrustedKeys([KEY.public]) if trusted is None else trusted
    realiser = Realiser(
        registry,
        store,
        system=SYSTEM,
        trusted=keys,
        public=public or TrustedKeys([]),
        log=Log(stream),
        clock=clock,
    )
    try:
        yield Node(realiser, store, stream)
    finally:
        await realiser.aclose()
        await registry.aclose()
        store.close()

"""From a wish to an environment on the node: the closure is complete, the links are made, nothing more is needed.

Belongs here: in which order, who waits how long, and what an old answer is good for when the registry is away. Does
not: fetching (`closure_fetch.py`), linking (`link.py`), keeping (`store/`).
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.lockfile import Lockfile
from flox_formats.signature import TrustedKeys
from flox_formats.store_path import StorePath
from flox_formats.system import System
from shim_hooks.environment.closure_fetch import ClosureFetch, ClosureSource
from shim_hooks.environment.environment_directory import ensure_environment
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.path_fetches import Blobs, PathFetches
from shim_hooks.errors import Refused, RegistryUnavailable
from shim_hooks.log import Log
from shim_hooks.registry_environment import RegistryEnvironment
from shim_hooks.store.closures import ClosureRecord
from shim_hooks.store.node_store import NodeStore
from shim_hooks.threads import in_thread

_SHARE = 0.95
"""Of the caller's deadline. The rest is for saying how far it is, which tells more than a deadline that has passed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`generation` None is the live one, asked for now. `lockfile` is known when an image named the generation."""

    environment: EnvironmentName
    generation: int | None
    lockfile: Digest | None
    mode: Mode

    @property
    def ref(self) -> EnvironmentRef:
        return EnvironmentRef(self.environment, self.generation)


@dataclass(frozen=True, slots=True)
class Realised:
    """`env_path` is what FLOX_ENV says, `store_dir` what is mounted at /nix/store, `paths` all that must stay there.

    `fetched_bytes` came off the network for it, compressed; containers that waited together all see the same number.
    """

    environment: EnvironmentName
    generation: int
    lockfile: Lockfile
    env_path: StorePath
    store_dir: Path
    fetched_bytes: int
    paths: tuple[StorePath, ...]


class Registry(ClosureSource, Blobs, Protocol):
    async def resolve(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment: ...


@dataclass(frozen=True, slots=True)
class _Ready:
    record: ClosureRecord
    env_path: StorePath
    fetched_bytes: int


class _Flight:
    """One environment on its way, for all who wait for it. It belongs to none of them."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.fetch: ClosureFetch | None = None
        self.task: asyncio.Task[_Ready]


_Key = tuple[EnvironmentName, Digest, Mode]


class Realiser:
    """One for the node; `aclose` it before the registry's client and the store. Raises NodeError."""

    def __init__(self, registry: Registry, store: NodeStore, *, system: System, trusted: TrustedKeys, log: Log) -> None:
        self._registry, self._store = registry, store
        self._system, self._trusted, self._log = system, trusted, log
        self._paths = PathFetches(registry, store)
        self._flights: dict[_Key, _Flight] = {}

    async def realise(self, wanted: Wanted, *, deadline_s: float) -> Realised:
        """Without asking anyone if the image named the lockfile and its closure is here.

        When the deadline passes, fetching goes on, and the error says how far it is.
        """
        deadline = time.monotonic() + deadline_s * _SHARE
        record, found = None, None
        if wanted.generation is not None and wanted.lockfile is not None:
            generation, lockfile = wanted.generation, wanted.lockfile
            record = await in_thread(lambda: self._complete(lockfile))
            if record is None and (wanted.environment, lockfile, wanted.mode) not in self._flights:
                found = await self._resolve(wanted, deadline)
        else:
            found = await self._resolve_or_recall(wanted, deadline)
            generation, lockfile = found.generation, found.lockfile
        ready = await self._wait(self._join((wanted.environment, lockfile, wanted.mode), record, found), deadline)
        return Realised(
            environment=wanted.environment,
            generation=generation,
            lockfile=ready.record.lockfile,
            env_path=ready.env_path,
            store_dir=self._store.store_dir,
            fetched_bytes=ready.fetched_bytes,
            paths=(*(path.store_path for path in ready.record.document.paths), ready.env_path),
        )

    async def aclose(self) -> None:
        """Cancels what is under way, and returns when it has ended. Whoever waits is told so."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._paths.aclose()

    async def _resolve_or_recall(self, wanted: Wanted, deadline: float) -> RegistryEnvironment:
        """What the registry says, else what it said last, if that is complete here."""
        try:
            return await self._resolve(wanted, deadline)
        except RegistryUnavailable as away:
            known = await in_thread(lambda: self._store.known_generations.recall(wanted.ref))
            if known is None:
                raise
            if await in_thread(lambda: self._complete(known.lockfile)) is None:
                raise RegistryUnavailable(
                    f"{away}. When it last answered, {wanted.ref} was generation {known.generation}, "
                    "which is not complete on this node"
                ) from away
            self._log.event("registry_away", asked=str(wanted.ref), generation=known.generation, message=str(away))
            return known

    async def _resolve(self, wanted: Wanted, deadline: float) -> RegistryEnvironment:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                found = await self._registry.resolve(wanted.ref, self._system)
        except TimeoutError as problem:
            raise RegistryUnavailable(f"asking for {wanted.ref}: the registry did not answer in time") from problem
        if wanted.generation is not None and wanted.lockfile not in (None, found.lockfile):
            raise Refused(
                f"generation {wanted.generation} of {wanted.environment} was rewritten after the image was pulled: the "
                f"image is of lockfile {wanted.lockfile}, FloxHub now has {found.lockfile}. "
                "Set imagePullPolicy: Always and restart the pod, so that the image is pulled anew"
            )
        await in_thread(lambda: self._store.known_generations.remember(wanted.ref, found))
        return found

    def _complete(self, lockfile: Digest) -> ClosureRecord | None:
        """The closure of a lockfile, if every path of it is here. Blocks."""
        record = self._store.closures.find(lockfile, self._system)
        if record is None or self._store.missing(path.store_path for path in record.document.paths):
            return None
        return record

    def _join(self, key: _Key, record: ClosureRecord | None, found: RegistryEnvironment | None) -> _Flight:
        """The flight for `key`, under way already or begun now."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(f"environment {key[0]}")
            work = self._bring(flight, key, record, found)
            flight.task = asyncio.create_task(work, name=f"realise {key[0]} {key[1]}")
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        return flight

    async def _wait(self, flight: _Flight, deadline: float) -> _Ready:
        """The end of a flight. Its progress, as an error, if that does not come before the deadline."""
        done, _ = await asyncio.wait({flight.task}, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            progress = "" if flight.fetch is None else f": {flight.fetch.progress}"
            raise RegistryUnavailable(
                f"{flight.what} is still being fetched{progress}. It goes on; kubelet's retry will find it further on"
            )
        if flight.task.cancelled():
            raise RegistryUnavailable(f"{flight.what}: floxbridge-node is being stopped. kubelet will try again")
        return flight.task.result()

    async def _bring(
        self, flight: _Flight, key: _Key, record: ClosureRecord | None, found: RegistryEnvironment | None
    ) -> _Ready:
        began = time.monotonic()
        environment, lockfile, mode = key
        record = record or await in_thread(lambda: self._complete(lockfile))
        if record is None:
            assert found is not None, "who has no closure has asked for it"
            flight.fetch = ClosureFetch(
                found,
                self._system,
                registry=self._registry,
                paths=self._paths,
                store=self._store,
                trusted=self._trusted,
            )
            record = await flight.fetch.run()
        complete = record
        env_path, is_new = await in_thread(
            lambda: ensure_environment(self._store, environment, complete, self._system, mode)
        )
        fetched_bytes = 0 if flight.fetch is None else flight.fetch.fetched_bytes
        if is_new or flight.fetch is not None:
            self._log.event(
                "realised",
                environment=str(environment),
                lockfile=str(lockfile),
                mode=mode.value,
                path=str(env_path),
                paths=len(complete.document.paths),
                fetched_bytes=fetched_bytes,
                ms=round((time.monotonic() - began) * 1000, 1),
            )
        return _Ready(complete, env_path, fetched_bytes)

    def _landed(self, key: _Key, task: asyncio.Task[_Ready]) -> None:
        """Whoever waited may have gone, so a failure is told to the log, too."""
        del self._flights[key]
        problem = None if task.cancelled() else task.exception()
        if problem is not None:
            kind = type(problem).__name__
            self._log.event(
                "realise_failed", environment=str(key[0]), lockfile=str(key[1]), kind=kind, message=str(problem)
            )

"""From a wish to an environment on the node: the closure is complete, the links are made, nothing more is needed.

Belongs here: in which order, who waits how long, and what an old answer is good for when the registry is away. Does
not: fetching (`closure_fetch.py`), linking (`link.py`), keeping (`store/`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.signature import TrustedKeys
from flox_formats.store_path import StorePath
from flox_formats.system import System
from shim_hooks.environment.access import Access
from shim_hooks.environment.access import Registry as AccessRegistry
from shim_hooks.environment.at_hand import AtHand
from shim_hooks.environment.closure_fetch import ClosureFetch, ClosureSource
from shim_hooks.environment.contents import DevelopmentContents, EnvironmentContents
from shim_hooks.environment.environment_directory import ensure_environment
from shim_hooks.environment.flight import Flight
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.path_fetches import PathFetches
from shim_hooks.environment.progress import UnderWay
from shim_hooks.environment.realised import Realised, Wanted
from shim_hooks.environment.turns import Line
from shim_hooks.errors import Refused, RegistryUnavailable, StillFetching
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.log import Log
from shim_hooks.registry_environment import RegistryEnvironment
from shim_hooks.store.closures import ClosureRecord
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.pins import Pin
from shim_hooks.store.public_environments import PublicEnvironments
from shim_hooks.threads import in_thread

_SHARE = 0.95
"""Of the caller's deadline. The rest is for saying how far it is, which tells more than a deadline that has passed."""


class Registry(ClosureSource, AccessRegistry, Protocol):
    async def resolve(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment: ...

    def resolve_at_once(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment | None: ...


_Key = tuple[EnvironmentName, Digest, Mode]


class Realiser:
    """One for the node; `aclose` it before the registry's client and the store. Raises NodeError.

    `landed` is called with the bytes that came when something was brought or could not be: the store has grown, or the
    disk is full. `clock` is for how fast they come.
    """

    def __init__(
        self,
        registry: Registry,
        store: NodeStore,
        *,
        system: System,
        trusted: TrustedKeys,
        log: Log,
        landed: Callable[[int], None] = lambda fetched_bytes: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._store, self._tell_landed = registry, store, landed
        self._system, self._trusted, self._log, self._clock = system, trusted, log, clock
        self._paths = PathFetches(store)
        self._access = Access(registry, PublicEnvironments(store.root / "closures" / "known" / "public.json"), log)
        self._at_hand = AtHand(store)
        self._flights: dict[_Key, Flight] = {}

    async def pin_down(self, wanted: Wanted, *, deadline_s: float) -> Wanted:
        """The same with generation and lockfile, asked for now; who may not use it gets the error."""
        found = await self._resolve_or_recall(wanted, time.monotonic() + deadline_s * _SHARE)
        return replace(wanted, generation=found.generation, lockfile=found.lockfile, access_granted=True)

    def pin_down_at_once(self, wanted: Wanted) -> Wanted | None:
        """As `pin_down`, where the registry says in a moment that nothing has changed since. Blocks. None says nothing.

        Not for who has a token: what that opens is asked about in full.
        """
        if wanted.token is not None:
            return None
        found = self._registry.resolve_at_once(wanted.ref, self._system)
        if found is None or not self._store.known_generations.is_remembered(wanted.ref, found):
            return None
        return replace(wanted, generation=found.generation, lockfile=found.lockfile, access_granted=True)

    def at_hand(self, wanted: Wanted) -> Realised | None:
        """What was wanted, if its lockfile is known, the caller may use it, and it was brought here before. Blocks.

        It may be gone since: take a lease, then ask `is_here`. None says nothing: `holding` knows.
        """
        lockfile, generation = wanted.lockfile, wanted.generation
        if lockfile is None or generation is None:
            return None
        if not wanted.access_granted and not self._access.is_shown_to_all(wanted.environment, lockfile):
            return None
        found = self._at_hand.find((wanted.environment, lockfile, wanted.mode))
        return None if found is None else replace(found, generation=generation)

    def is_here(self, realised: Realised, mode: Mode) -> bool:
        """Whether what was at hand still is, all of it. Blocks. For who has a lease, so that it stays so."""
        return self._at_hand.is_here((realised.environment, realised.lockfile.digest, mode))

    async def realise(self, wanted: Wanted, *, deadline_s: float) -> Realised:
        """As `holding`, for who needs no promise that it stays."""
        async with self.holding(wanted, deadline_s=deadline_s) as realised:
            return realised

    @asynccontextmanager
    async def holding(self, wanted: Wanted, *, deadline_s: float) -> AsyncIterator[Realised]:
        """What was wanted, and within the context nothing of it is taken away: take a lease there.

        Without waiting for anyone if the image named the lockfile, its closure is here and all may use it. When the
        deadline passes, fetching goes on, and the error says how far it is.
        """
        deadline = time.monotonic() + deadline_s * _SHARE
        flight, generation = await self._board(wanted, deadline)
        try:
            realised = await self._wait(flight, deadline)
            yield replace(realised, generation=generation)
        finally:
            flight.leave()

    def under_way(self) -> tuple[UnderWay, ...]:
        """What is being fetched at this moment, and how far it is."""
        fetches = ((environment, flight.fetch) for (environment, _, _), flight in self._flights.items())
        return tuple(UnderWay(environment, fetch.progress) for environment, fetch in fetches if fetch is not None)

    async def forget_what_is_gone(self) -> None:
        """What is remembered of environments whose closure is not here any more. Raises StoreFailed."""
        recorded = await in_thread(self._store.closures.recorded)
        await self._access.forget(all_but={key.lockfile for key in recorded})

    async def aclose(self) -> None:
        """Cancels what is under way, and returns when it has ended. Whoever waits is told so."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._paths.aclose()
        await self._access.aclose()

    async def _board(self, wanted: Wanted, deadline: float) -> tuple[Flight, int]:
        """The flight for what is wanted, with the caller as a user of it, and the generation that it brings."""
        pin = self._store.pin()
        try:
            record, found = None, None
            if wanted.generation is not None and wanted.lockfile is not None:
                generation, lockfile = wanted.generation, wanted.lockfile
                record = await in_thread(lambda: self._complete(lockfile, pin))
                key = wanted.environment, lockfile, wanted.mode
                if not wanted.access_granted and (record is not None or key in self._flights):
                    await self._access.check(*key[:2], wanted.token)
                if record is None and key not in self._flights:  # one that it was may have ended meanwhile
                    found = await self._resolve(wanted, deadline)
            else:
                found = await self._resolve_or_recall(wanted, deadline)
                generation, lockfile = found.generation, found.lockfile
        except BaseException:
            pin.release()
            raise
        return self._join(wanted, lockfile, record, found, pin), generation

    async def _resolve_or_recall(self, wanted: Wanted, deadline: float) -> RegistryEnvironment:
        """What the registry says, else what it said last, if that is complete here."""
        try:
            return await self._resolve(wanted, deadline)
        except RegistryUnavailable as away:
            known = await in_thread(lambda: self._store.known_generations.recall(wanted.ref))
            if known is None:
                raise
            if not wanted.access_granted:
                await self._access.check_while_away(known.environment, known.lockfile, wanted.token, away)
            if await in_thread(lambda: self._is_complete(known.lockfile)) is False:
                raise RegistryUnavailable(
                    f"{away}. When it last answered, {wanted.ref} was generation {known.generation}, "
                    "which is not complete on this node"
                ) from away
            self._log.event("registry_away", asked=str(wanted.ref), generation=known.generation, message=str(away))
            return known

    async def _resolve(self, wanted: Wanted, deadline: float) -> RegistryEnvironment:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                found = await self._registry.with_token(wanted.token).resolve(wanted.ref, self._system)
        except TimeoutError as problem:
            raise RegistryUnavailable(f"asking for {wanted.ref}: the registry did not answer in time") from problem
        if wanted.generation is not None and wanted.lockfile not in (None, found.lockfile):
            raise Refused(
                f"generation {wanted.generation} of {wanted.environment} was rewritten after the image was pulled: the "
                f"image is of lockfile {wanted.lockfile}, FloxHub now has {found.lockfile}. "
                "Set imagePullPolicy: Always and restart the pod, so that the image is pulled anew"
            )
        if not self._store.known_generations.is_remembered(wanted.ref, found):
            await in_thread(lambda: self._store.known_generations.remember(wanted.ref, found))
        await self._access.note(found.environment, found.lockfile, wanted.token)
        return found

    def _complete(self, lockfile: Digest, pin: Pin) -> ClosureRecord | None:
        """The closure of a lockfile, if every path of it is here; from then on it stays here. Blocks."""
        record = self._store.closures.find(lockfile, self._system)
        if record is None:
            return None
        paths = [path.store_path for path in record.document.paths]
        pin.add(paths)
        return None if self._store.missing(paths) else record

    def _is_complete(self, lockfile: Digest) -> bool:
        record = self._store.closures.find(lockfile, self._system)
        return record is not None and not self._store.missing(path.store_path for path in record.document.paths)

    def _join(
        self,
        wanted: Wanted,
        lockfile: Digest,
        record: ClosureRecord | None,
        found: RegistryEnvironment | None,
        pin: Pin,
    ) -> Flight:
        """The flight for a lockfile, under way or begun now; `pin` is its own then, and released if it is not."""
        key = wanted.environment, lockfile, wanted.mode
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(f"environment {key[0]}", pin, Line(ahead=wanted.ahead))
            work = self._bring(flight, key, record, found, wanted.token)
            flight.task = asyncio.create_task(work, name=f"realise {key[0]} {key[1]}")
            flight.task.add_done_callback(lambda task: self._landed(key, flight, task))
        else:
            pin.release()
            if not wanted.ahead:
                self._paths.hurry(flight.line)
        flight.users += 1
        return flight

    async def _wait(self, flight: Flight, deadline: float) -> Realised:
        """The end of a flight. Its progress, as an error, if that does not come before the deadline."""
        done, _ = await asyncio.wait({flight.task}, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            raise StillFetching(flight.what, flight.progress)
        if flight.task.cancelled():
            raise RegistryUnavailable(f"{flight.what}: floxbridge-node is being stopped. kubelet will try again")
        return flight.task.result()

    async def _bring(
        self,
        flight: Flight,
        key: _Key,
        record: ClosureRecord | None,
        found: RegistryEnvironment | None,
        token: FloxHubToken | None,
    ) -> Realised:
        began = time.monotonic()
        environment, lockfile, mode = key
        record = record or await in_thread(lambda: self._complete(lockfile, flight.pin))
        if record is None:
            assert found is not None, "who has no closure has asked for it"
            flight.fetch = ClosureFetch(
                found,
                self._system,
                registry=self._registry.with_token(token),
                paths=self._paths,
                store=self._store,
                trusted=self._trusted,
                pin=flight.pin,
                line=flight.line,
                clock=self._clock,
            )
            record = await flight.fetch.run()
        complete = record
        realised, is_new = await in_thread(lambda: self._link(environment, complete, mode, flight.pin))
        self._at_hand.remember(key, realised, complete.key)
        fetched_bytes = 0 if flight.fetch is None else flight.fetch.fetched_bytes
        if is_new or flight.fetch is not None:
            self._log.event(
                "realised",
                environment=str(environment),
                lockfile=str(lockfile),
                mode=mode.value,
                path=str(realised.env_path),
                paths=len(complete.document.paths),
                fetched_bytes=fetched_bytes,
                ms=round((time.monotonic() - began) * 1000, 1),
            )
        return replace(realised, fetched_bytes=fetched_bytes)

    def _link(self, environment: EnvironmentName, record: ClosureRecord, mode: Mode, pin: Pin) -> tuple[Realised, bool]:
        """The linked environment, pinned, and whether it is new. Its use is noted. Blocks."""
        self._store.closures.use(record)
        while True:
            env_path, is_new = ensure_environment(self._store, environment, record, self._system, mode)
            pin.add([env_path])
            if self._store.has(env_path):  # else it was taken away just before the pin
                return self._realised(environment, record, mode, env_path), is_new

    def _realised(
        self, environment: EnvironmentName, record: ClosureRecord, mode: Mode, env_path: StorePath
    ) -> Realised:
        """Of no generation yet: several may have one lockfile. Blocks."""
        tree, paths = self._store.tree, tuple(path.store_path for path in record.document.paths)
        return Realised(
            environment=environment,
            generation=0,
            lockfile=record.lockfile.activation,
            env_path=env_path,
            store_dir=self._store.store_dir,
            fetched_bytes=0,
            paths=(*paths, env_path),
            contents=EnvironmentContents.look(tree, env_path, paths),
            development=DevelopmentContents.look(tree, env_path) if mode is Mode.DEV else None,
        )

    def _landed(self, key: _Key, flight: Flight, task: asyncio.Task[Realised]) -> None:
        """Whoever waited may have gone, so a failure is told to the log, too."""
        del self._flights[key]
        flight.leave()
        problem = None if task.cancelled() else task.exception()
        if problem is not None or flight.fetch is not None:
            self._tell_landed(0 if flight.fetch is None else flight.fetch.fetched_bytes)
        if problem is not None:
            kind = type(problem).__name__
            self._log.event(
                "realise_failed", environment=str(key[0]), lockfile=str(key[1]), kind=kind, message=str(problem)
            )

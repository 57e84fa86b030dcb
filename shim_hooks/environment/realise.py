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
from shim_hooks.environment.realised import Realised, Shown, Wanted
from shim_hooks.environment.turns import Line
from shim_hooks.errors import Refused, RegistryUnavailable, StillFetching
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.log import Log
from shim_hooks.registry.environment import RegistryEnvironment
from shim_hooks.store.closures import ClosureRecord
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.pins import Pin
from shim_hooks.store.public_environments import PublicEnvironments
from shim_hooks.store.store_folders import StoreFolders
from shim_hooks.threads import in_thread

_SHARE = 0.95
"""Of the caller's deadline. The rest is for saying how far it is, which tells more than a deadline that has passed."""


class Registry(ClosureSource, AccessRegistry, Protocol):
    async def resolve(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment: ...

    def resolve_at_once(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment | None: ...


_Key = tuple[EnvironmentName, Digest, Mode, StoreFolders]
"""The same lockfile may come to two places, where some pods have a token and some are shown it without."""


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
        public: TrustedKeys,
        log: Log,
        landed: Callable[[int], None] = lambda fetched_bytes: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._store, self._tell_landed = registry, store, landed
        self._system, self._log, self._clock = system, log, clock
        self._trusted, self._public = trusted, public
        self._paths = PathFetches(store)
        self._access = Access(registry, PublicEnvironments(store.root / "closures" / "known" / "public.json"), log)
        self._at_hand = AtHand(store)
        self._flights: dict[_Key, Flight] = {}

    async def pin_down(self, wanted: Wanted, *, deadline_s: float) -> Wanted:
        """The same with generation and lockfile, asked for now; who may not use it gets the error."""
        found, shown = await self._resolve_or_recall(wanted, time.monotonic() + deadline_s * _SHARE)
        return replace(wanted, generation=found.generation, lockfile=found.lockfile, shown=shown)

    def pin_down_at_once(self, wanted: Wanted) -> Wanted | None:
        """As `pin_down`, where the registry says in a moment that nothing has changed since. Blocks. None says nothing.

        Not for who has a token: what that opens is asked about in full.
        """
        if wanted.token is not None:
            return None
        found = self._registry.resolve_at_once(wanted.ref, self._system)
        if found is None or not self._store.known_generations.is_remembered(wanted.ref, found):
            return None
        return replace(wanted, generation=found.generation, lockfile=found.lockfile, shown=Shown.TO_ALL)

    def at_hand(self, wanted: Wanted) -> Realised | None:
        """What was wanted, if its lockfile is known, the caller may use it, and it was brought here before. Blocks.

        It may be gone since: take a lease, then ask `is_here`. None says nothing: `holding` knows.
        """
        lockfile, generation = wanted.lockfile, wanted.generation
        if lockfile is None or generation is None:
            return None
        if wanted.shown is None and not self._access.is_shown_to_all(wanted.environment, lockfile):
            return None
        found = None
        if wanted.shown is Shown.TO_ITS_PODS:
            found = self._at_hand.find(self._key(wanted, lockfile, wanted.shown))
        found = found or self._at_hand.find(self._key(wanted, lockfile, Shown.TO_ALL))
        return None if found is None else replace(found, generation=generation)

    def is_here(self, realised: Realised, mode: Mode) -> bool:
        """Whether what was at hand still is, all of it. Blocks. For who has a lease, so that it stays so."""
        return self._at_hand.is_here((realised.environment, realised.lockfile.digest, mode, realised.folders))

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
        fetches = ((environment, flight.fetch) for (environment, *_), flight in self._flights.items())
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
            if wanted.generation is None or wanted.lockfile is None:
                found, shown = await self._resolve_or_recall(wanted, deadline)
                key = self._key(wanted, found.lockfile, shown)
                return self._join(key, wanted, None, found, pin), found.generation
            key, record, pinned = await self._look(wanted, wanted.lockfile, pin, deadline)
            return self._join(key, wanted, record, pinned, pin), wanted.generation
        except BaseException:
            pin.release()
            raise

    async def _look(
        self, wanted: Wanted, lockfile: Digest, pin: Pin, deadline: float
    ) -> tuple[_Key, ClosureRecord | None, RegistryEnvironment | None]:
        """The flight for a lockfile, and its closure if it is here. If it neither is nor flies, what the registry says.

        What lies where not everybody sees it is not here for who is shown no more than everybody.
        """
        environment, shown = wanted.environment, wanted.shown
        here = await in_thread(lambda: self._complete(lockfile, self._store.private_of(environment), pin))
        if shown is None and (here is not None or self._is_flying(environment, lockfile, wanted.mode)):
            shown = await self._access.check(environment, lockfile, wanted.token)
        if shown is not None:
            key = self._key(wanted, lockfile, shown)
            record = None if here is None or (here[1].is_private and shown is Shown.TO_ALL) else here[0]
            if record is not None or key in self._flights:  # one that it was may have ended meanwhile
                return key, record, None
        found, now = await self._resolve(wanted, deadline)
        return self._key(wanted, lockfile, shown or now), None, found

    def _key(self, wanted: Wanted, lockfile: Digest, shown: Shown) -> _Key:
        folders = self._store.public if shown is Shown.TO_ALL else self._store.private_of(wanted.environment)
        return wanted.environment, lockfile, wanted.mode, folders

    def _is_flying(self, *flight: object) -> bool:
        """To whichever folders."""
        return any(key[:3] == flight for key in self._flights)

    async def _resolve_or_recall(self, wanted: Wanted, deadline: float) -> tuple[RegistryEnvironment, Shown]:
        """What the registry says, else what it said last, if that is complete here."""
        try:
            return await self._resolve(wanted, deadline)
        except RegistryUnavailable as away:
            known = await in_thread(lambda: self._store.known_generations.recall(wanted.ref))
            if known is None:
                raise
            shown = wanted.shown or await self._access.check_while_away(
                known.environment, known.lockfile, wanted.token, away
            )
            _, lockfile, _, folders = self._key(wanted, known.lockfile, shown)
            if await in_thread(lambda: self._complete(lockfile, folders)) is None:
                raise RegistryUnavailable(
                    f"{away}. When it last answered, {wanted.ref} was generation {known.generation}, "
                    "which is not complete on this node"
                ) from away
            self._log.event("registry_away", asked=str(wanted.ref), generation=known.generation, message=str(away))
            return known, shown

    async def _resolve(self, wanted: Wanted, deadline: float) -> tuple[RegistryEnvironment, Shown]:
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
        return found, await self._access.note(found.environment, found.lockfile, wanted.token)

    def _complete(
        self, lockfile: Digest, folders: StoreFolders, pin: Pin | None = None
    ) -> tuple[ClosureRecord, StoreFolders] | None:
        """The closure of a lockfile, if every path of it is in `folders`, and which of them have all. Blocks.

        From then on it stays here, if there is a `pin`.
        """
        record = self._store.closures.find(lockfile, self._system)
        if record is None:
            return None
        paths = [path.store_path for path in record.document.paths]
        if pin is not None:
            pin.add(paths)
        having = folders.narrowed(paths)
        return None if having is None else (record, having)

    def _join(
        self,
        key: _Key,
        wanted: Wanted,
        record: ClosureRecord | None,
        found: RegistryEnvironment | None,
        pin: Pin,
    ) -> Flight:
        """The flight for a lockfile, under way or begun now; `pin` is its own then, and released if it is not."""
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
        environment, lockfile, mode, folders = key
        if record is None:
            here = await in_thread(lambda: self._complete(lockfile, folders, flight.pin))
            record = None if here is None else here[0]
        if record is None:
            assert found is not None, "who has no closure has asked for it"
            flight.fetch = ClosureFetch(
                found,
                self._system,
                registry=self._registry.with_token(token),
                paths=self._paths,
                store=self._store,
                folders=folders,
                trusted=self._trusted,
                public=self._public,
                pin=flight.pin,
                line=flight.line,
                clock=self._clock,
            )
            record = await flight.fetch.run()
        complete = record
        realised, is_new = await in_thread(lambda: self._link(key, complete, flight.pin))
        self._at_hand.remember((environment, lockfile, mode, realised.folders), realised, complete.key)
        fetched_bytes = 0 if flight.fetch is None else flight.fetch.fetched_bytes
        if is_new or flight.fetch is not None:
            self._log.event(
                "realised",
                environment=str(environment),
                lockfile=str(lockfile),
                mode=mode.value,
                private=realised.folders.is_private,
                path=str(realised.env_path),
                paths=len(complete.document.paths),
                fetched_bytes=fetched_bytes,
                ms=round((time.monotonic() - began) * 1000, 1),
            )
        return replace(realised, fetched_bytes=fetched_bytes)

    def _link(self, key: _Key, record: ClosureRecord, pin: Pin) -> tuple[Realised, bool]:
        """The linked environment, pinned, and whether it is new. Its use is noted. Blocks."""
        environment, _, mode, folders = key
        self._store.closures.use(record)
        while True:
            env_path, is_new = ensure_environment(self._store, folders, environment, record, self._system, mode)
            pin.add([env_path])
            if folders.has(env_path):  # else it was taken away just before the pin
                return _realised(folders, environment, record, mode, env_path), is_new

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


def _realised(
    folders: StoreFolders, environment: EnvironmentName, record: ClosureRecord, mode: Mode, env_path: StorePath
) -> Realised:
    """Of no generation yet: several may have one lockfile. Blocks."""
    paths = tuple(path.store_path for path in record.document.paths)
    folders = folders.narrowed([*paths, env_path]) or folders
    tree = folders.tree
    return Realised(
        environment=environment,
        generation=0,
        lockfile=record.lockfile.activation,
        env_path=env_path,
        folders=folders,
        fetched_bytes=0,
        paths=(*paths, env_path),
        contents=EnvironmentContents.look(tree, env_path, paths),
        development=DevelopmentContents.look(tree, env_path) if mode is Mode.DEV else None,
    )

"""Whether a pod may use an environment. What lies on the node grants nothing: the registry is asked, as that pod.

Belongs here: when to ask, and what an answer is good for afterwards. The question is always about an environment and a
lockfile of it: an image can name any two of them, and only the registry knows that they belong together.
"""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from shim_hooks.environment.realised import Shown
from shim_hooks.errors import NodeError, RegistryRefused, RegistryUnavailable, StoreFailed
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.log import Log
from shim_hooks.store.public_environments import LockedEnvironment, PublicEnvironments
from shim_hooks.threads import in_thread

_MAX_PROOFS = 4096


class Registry(Protocol):
    def with_token(self, token: FloxHubToken | None) -> Self: ...

    async def show(self, environment: EnvironmentName, lockfile: Digest) -> None:
        """Raises RegistryRefused where it may not be seen, or is not there; RegistryUnavailable."""


@dataclass(frozen=True, slots=True)
class AccessTimes:
    """How long an answer is good.

    What was public `fresh_s` ago is not asked about; up to `stale_s` it is used while it is asked about; after that,
    and at first, the answer is waited for: `patience_s`, if it was public once. A token that proved itself is good for
    `away_s` while the registry is away. What was public is remembered for `forgotten_s` at least.
    """

    fresh_s: float = 60.0
    stale_s: float = 300.0
    patience_s: float = 1.0
    away_s: float = 3600.0
    forgotten_s: float = 86400.0


class Access:
    """One for the node; `aclose` it. Tokens are known by a keyed hash, in memory only."""

    def __init__(
        self,
        registry: Registry,
        public: PublicEnvironments,
        log: Log,
        *,
        times: AccessTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._file, self._log = registry, public, log
        self._times, self._clock = times or AccessTimes(), clock
        self._key = secrets.token_bytes(32)
        self._public: OrderedDict[LockedEnvironment, float | None] = OrderedDict()
        """When it was last shown to anyone; None for what an earlier agent has seen."""
        self._tokens: OrderedDict[bytes, float] = OrderedDict()
        self._questions: dict[LockedEnvironment, asyncio.Task[None]] = {}
        self._loaded = False
        self._began = clock()

    async def check(self, environment: EnvironmentName, lockfile: Digest, token: FloxHubToken | None) -> Shown:
        """To whom it is shown, as far as anybody asked. Raises RegistryRefused for who may not use it,
        RegistryUnavailable where that cannot be known."""
        await self._load()
        locked = environment, lockfile
        if locked in self._public:
            shown = self._public[locked]
            age = None if shown is None else self._clock() - shown
            if age is not None and age < self._times.stale_s:
                if age >= self._times.fresh_s:
                    self._ask(locked)
                return Shown.TO_ALL
            if await self._is_still_public(locked):
                return Shown.TO_ALL
        try:
            await (self._ask_as(locked, token) if token is not None else asyncio.shield(self._ask(locked)))
        except RegistryUnavailable as away:
            if not self._proved_before(locked, token):
                raise _cannot_be_known(environment, away) from away
        return _shown_to(token)

    def is_shown_to_all(self, environment: EnvironmentName, lockfile: Digest) -> bool:
        """Whether the registry has just shown it to whoever asked, so that nobody need ask. From any thread."""
        shown = self._public.get((environment, lockfile))
        return shown is not None and self._clock() - shown < self._times.fresh_s

    async def note(self, environment: EnvironmentName, lockfile: Digest, token: FloxHubToken | None) -> Shown:
        """The registry has shown it to this pod just now. Gives to whom it is shown, as far as anybody asked."""
        locked = environment, lockfile
        if token is not None:
            _remember(self._tokens, self._proof(locked, token), self._clock())
            return Shown.TO_ALL if self.is_shown_to_all(*locked) else Shown.TO_ITS_PODS
        known = locked in self._public
        _remember(self._public, locked, self._clock())
        if not known:
            await self._save()
        return Shown.TO_ALL

    async def check_while_away(
        self, environment: EnvironmentName, lockfile: Digest, token: FloxHubToken | None, away: RegistryUnavailable
    ) -> Shown:
        """As `check`, for who asked the registry in vain. Raises RegistryUnavailable, from `away`."""
        await self._load()
        if (environment, lockfile) in self._public:
            return Shown.TO_ALL
        if not self._proved_before((environment, lockfile), token):
            raise _cannot_be_known(environment, away) from away
        return Shown.TO_ITS_PODS

    async def forget(self, *, all_but: Collection[Digest]) -> None:
        """What was public a day ago or longer, and whose lockfile is not among `all_but`: those of the closures here.

        While the registry is away nothing of it can be started, and while it is not, it is asked. A younger one may be
        of a closure that is on its way.
        """
        await self._load()
        before = self._clock() - self._times.forgotten_s
        shown = ((locked, self._began if at is None else at) for locked, at in self._public.items())
        gone = [locked for locked, at in shown if at < before and locked[1] not in all_but]
        for locked in gone:
            del self._public[locked]
        if gone:
            await self._save()

    def _proved_before(self, locked: LockedEnvironment, token: FloxHubToken | None) -> bool:
        if token is None:
            return False
        proved = self._tokens.get(self._proof(locked, token))
        return proved is not None and self._clock() - proved < self._times.away_s

    async def aclose(self) -> None:
        tasks = list(self._questions.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _is_still_public(self, locked: LockedEnvironment) -> bool:
        """True where it was and nobody can say otherwise."""
        try:
            async with asyncio.timeout(self._times.patience_s):
                await asyncio.shield(self._ask(locked))
        except (RegistryUnavailable, TimeoutError):
            self._log.event(
                "registry_away", asked=str(locked[0]), message="it was public when the registry last answered"
            )
        except RegistryRefused:
            return False
        return True

    def _ask(self, locked: LockedEnvironment) -> "asyncio.Task[None]":
        """The question without a token, one at a time for each environment; whoever asks may go."""
        task = self._questions.get(locked)
        if task is None:
            task = self._questions[locked] = asyncio.create_task(self._ask_as(locked, None), name=f"access {locked[0]}")
            task.add_done_callback(lambda task: self._answered(locked, task))
        return task

    async def _ask_as(self, locked: LockedEnvironment, token: FloxHubToken | None) -> None:
        await self._registry.with_token(token).show(*locked)
        await self.note(*locked, token)

    def _answered(self, locked: LockedEnvironment, task: "asyncio.Task[None]") -> None:
        del self._questions[locked]
        problem = None if task.cancelled() else task.exception()
        if isinstance(problem, RegistryRefused):
            self._public.pop(locked, None)
        elif problem is not None and not isinstance(problem, NodeError):
            raise problem  # a bug, for the loop's handler

    def _proof(self, locked: LockedEnvironment, token: FloxHubToken) -> bytes:
        text = f"{locked[0]} {locked[1]} {token.text}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    async def _load(self) -> None:
        if not self._loaded:
            known = await in_thread(self._file.read)
            if not self._loaded:  # somebody else may have been faster
                self._loaded = True
                for locked in known:
                    self._public.setdefault(locked, None)

    async def _save(self) -> None:
        await self._load()
        known = list(self._public)
        try:
            await in_thread(lambda: self._file.write(known))
        except (
            StoreFailed
        ) as problem:  # this container can start; after a restart, with the registry away, it could not
            self._log.event("public_environments_not_kept", message=str(problem))


K = TypeVar("K")
V = TypeVar("V")


def _remember(proofs: "OrderedDict[K, V]", key: K, value: V) -> None:
    proofs[key] = value
    proofs.move_to_end(key)
    if len(proofs) > _MAX_PROOFS:
        proofs.popitem(last=False)


def _shown_to(token: FloxHubToken | None) -> Shown:
    """For who it was shown to: whether others would be shown it nobody asked, if there was a token."""
    return Shown.TO_ALL if token is None else Shown.TO_ITS_PODS


def _cannot_be_known(environment: EnvironmentName, away: RegistryUnavailable) -> RegistryUnavailable:
    return RegistryUnavailable(
        f"{away}. Nobody else can say whether this pod may use {environment}: it is not known to be public, and no "
        "token of this pod proved itself lately"
    )

"""The agent, its realiser and its registry with a clock beside them: each wraps another one of its kind.

Belongs here: when something is counted. Does not: what it is called there (`metrics.py`).
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.system import System
from shim_hooks.agent import Done, Realiser, Waits
from shim_hooks.agent_socket import Answers
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Realised, Wanted
from shim_hooks.errors import NodeError, RegistryUnavailable
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.launcher_protocol import CreateRequest, DeleteRequest, ExecRequest
from shim_hooks.metrics import OK, Metrics, outcome_of
from shim_hooks.registry.client import FetchedClosure, RegistryClient
from shim_hooks.registry.environment import RegistryEnvironment
from shim_hooks.store.blob_file import BlobFile


class MeasuredAnswers:
    """Counts what the launcher is answered, and how long a create took."""

    def __init__(self, inner: Answers, metrics: Metrics) -> None:
        self._inner, self._metrics = inner, metrics

    def begin(self, request: CreateRequest | ExecRequest) -> Done | Waits:
        began = time.monotonic()
        with self._failing(request, began):
            begun = self._inner.begin(request)
        if isinstance(begun, Waits):
            return Waits(lambda: self._rest(request, begun, began))
        took_s = time.monotonic() - began
        return Done(lambda: self._done(request, begun, took_s))

    async def _rest(self, request: CreateRequest | ExecRequest, begun: Waits, began: float) -> None:
        with self._failing(request, began):
            await begun.rest()
        self._count(request, OK, time.monotonic() - began)

    def _done(self, request: CreateRequest | ExecRequest, begun: Done, took_s: float) -> None:
        begun.tell()
        self._count(request, OK, took_s)

    @contextmanager
    def _failing(self, request: CreateRequest | ExecRequest, began: float) -> Iterator[None]:
        try:
            yield
        except NodeError as problem:
            self._count(request, outcome_of(problem), time.monotonic() - began)
            raise

    def _count(self, request: CreateRequest | ExecRequest, outcome: str, seconds: float) -> None:
        if isinstance(request, CreateRequest):
            self._metrics.created(outcome, seconds)
        else:
            self._metrics.joined(outcome)

    def delete(self, request: DeleteRequest) -> None:
        self._inner.delete(request)


class MeasuredRealiser:
    """Counts how long it took until an environment was there."""

    def __init__(self, inner: Realiser, metrics: Metrics) -> None:
        self._inner, self._metrics = inner, metrics

    async def pin_down(self, wanted: Wanted, *, deadline_s: float) -> Wanted:
        return await self._inner.pin_down(wanted, deadline_s=deadline_s)

    def pin_down_at_once(self, wanted: Wanted) -> Wanted | None:
        return self._inner.pin_down_at_once(wanted)

    def at_hand(self, wanted: Wanted) -> Realised | None:
        return self._inner.at_hand(wanted)

    def is_here(self, realised: Realised, mode: Mode) -> bool:
        began = time.monotonic()
        here = self._inner.is_here(realised, mode)
        if here:
            self._metrics.realised(time.monotonic() - began)
        return here

    @asynccontextmanager
    async def holding(self, wanted: Wanted, *, deadline_s: float) -> AsyncIterator[Realised]:
        began = time.monotonic()
        async with AsyncExitStack() as held:
            realised = await held.enter_async_context(self._inner.holding(wanted, deadline_s=deadline_s))
            self._metrics.realised(time.monotonic() - began)
            yield realised


class MeasuredRegistry:
    """Counts the questions to the registry, and when it last said anything."""

    def __init__(self, inner: RegistryClient, metrics: Metrics) -> None:
        self._inner, self._metrics = inner, metrics

    def with_token(self, token: FloxHubToken | None) -> "MeasuredRegistry":
        return MeasuredRegistry(self._inner.with_token(token), self._metrics)

    async def show(self, environment: EnvironmentName, lockfile: Digest) -> None:
        with self._asking("access"):
            await self._inner.show(environment, lockfile)

    async def resolve(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment:
        with self._asking("resolve"):
            return await self._inner.resolve(asked, system)

    def resolve_at_once(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment | None:
        """Who gets nothing asks again, and that is counted."""
        began = time.monotonic()
        found = self._inner.resolve_at_once(asked, system)
        if found is not None:
            self._tell("resolve", OK, began, is_there=True)
        return found

    async def closure(self, found: RegistryEnvironment) -> FetchedClosure:
        with self._asking("closure"):
            return await self._inner.closure(found)

    async def download(self, repository: str, blob: BlobFile, *, received: Callable[[int], None]) -> None:
        with self._asking("blob"):
            await self._inner.download(repository, blob, received=received)

    @contextmanager
    def _asking(self, question: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except NodeError as problem:
            away = isinstance(problem, RegistryUnavailable)
            self._tell(question, outcome_of(problem), began, is_there=not away)
            raise
        self._tell(question, OK, began, is_there=True)

    def _tell(self, question: str, outcome: str, began: float, *, is_there: bool) -> None:
        self._metrics.registry_answered(question, outcome, time.monotonic() - began, is_there=is_there)

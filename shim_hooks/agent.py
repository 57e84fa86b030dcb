"""The agent: what is done for each container that the launcher tells about.

Belongs here: the order of things for a create, an exec and a delete. Does not: the socket (`agent_socket.py`), what a
container gets (`bundle/decision.py`), how an environment comes onto the node (`environment/realise.py`).
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from flox_formats.store_path import StorePath
from shim_hooks.bundle.decision import InEnvironment, Untouched, decide
from shim_hooks.bundle.edits import OwnStore, apply_edits
from shim_hooks.bundle.file import read_process, read_spec, write_process, write_spec
from shim_hooks.bundle.pinned import PinnedGeneration
from shim_hooks.bundle.placing import joined, placement
from shim_hooks.bundle.rootfs import Rootfs
from shim_hooks.bundle.spec import Spec
from shim_hooks.bundle.token_mount import find_token
from shim_hooks.container_key import shown_id
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Realised, Shown, Wanted
from shim_hooks.errors import NodeError, Refused, RegistryUnavailable, StoreFailed
from shim_hooks.launcher_protocol import CreateRequest, DeleteRequest, ExecRequest
from shim_hooks.log import Log
from shim_hooks.store.container_stores import ContainerStores, refuse_as_layer
from shim_hooks.store.leases import Lease, LeaseInvalid
from shim_hooks.threads import in_thread

_SHARE = 0.9
"""Of the launcher's deadline, for realising. The rest is for the answer, which says more than the launcher could."""


class Realiser(Protocol):
    """`holding`: within the context nothing is taken away, there a lease is taken.

    `pin_down` asks which generation is live. `at_hand`: what nobody has to wait for; once there is a lease `is_here`
    tells whether all of it is. Both of these block, as `pin_down_at_once` does, for a moment.
    """

    async def pin_down(self, wanted: Wanted, *, deadline_s: float) -> Wanted: ...

    def pin_down_at_once(self, wanted: Wanted) -> Wanted | None: ...

    def at_hand(self, wanted: Wanted) -> Realised | None: ...

    def is_here(self, realised: Realised, mode: Mode) -> bool: ...

    def holding(self, wanted: Wanted, *, deadline_s: float) -> AbstractAsyncContextManager[Realised]: ...


class Leases(Protocol):
    """Who uses which store paths. `sweep` drops the leases of containers whose bundle is gone, and tells which."""

    def take(self, container_id: str, bundle: Path, paths: Iterable[StorePath]) -> None: ...

    def drop(self, container_id: str) -> None: ...

    def find(self, container_id: str) -> Lease | None: ...

    def container_ids(self) -> Collection[str]: ...

    def sweep(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Done:
    """What was asked for is done. `tell` is called when the launcher has its answer: it does not wait for logs."""

    tell: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Waits:
    """It is not done, since something has to be waited for: `rest` does that, and all that is left."""

    rest: Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class _Container:
    """What a create is about, as far as its bundle says."""

    request: CreateRequest
    spec: Spec
    rootfs: Rootfs
    decision: InEnvironment


class Agent:
    def __init__(self, realiser: Realiser, leases: Leases, stores: ContainerStores, log: Log) -> None:
        self._realiser, self._leases, self._stores, self._log = realiser, leases, stores, log
        self._deleted = asyncio.Event()

    def begin(self, request: CreateRequest | ExecRequest) -> Done | Waits:
        """All that needs no waiting for anybody, in one go, since each change of threads costs as much as a step of it.

        Blocks. It, or the rest, raises NodeError, and then bundle or process file is as it was.
        """
        return self._begin_create(request) if isinstance(request, CreateRequest) else self._begin_exec(request)

    async def create(self, request: CreateRequest) -> None:
        """Puts the bundle into its environment."""
        await self._all_of(request)

    async def exec(self, request: ExecRequest) -> None:
        """Puts a process that joins a running container into its environment.

        Which environment that is, the container's own bundle says, also to an agent that was not there at its create.
        """
        await self._all_of(request)

    async def _all_of(self, request: CreateRequest | ExecRequest) -> None:
        begun = await in_thread(lambda: self.begin(request))
        if isinstance(begun, Waits):
            await begun.rest()
        else:
            begun.tell()

    def delete(self, request: DeleteRequest) -> None:
        """Notes it. The lease is dropped when the bundle is gone: the runtime may still refuse to delete."""
        self._log.event("delete", container=request.container_id)
        self._deleted.set()

    async def sweep_leases(self, *, after_delete_s: float, interval_s: float) -> None:
        """Drops the leases of containers that are gone, until cancelled: now and then, and soon after a delete."""
        while True:
            await self._sweep()
            try:
                async with asyncio.timeout(interval_s):
                    await self._deleted.wait()
            except TimeoutError:
                continue
            self._deleted.clear()
            await asyncio.sleep(after_delete_s)

    async def _sweep(self) -> None:
        try:
            dropped = await in_thread(self._leases.sweep)
            if dropped:
                self._log.event("leases_dropped", containers=[shown_id(key) for key in dropped])
            await in_thread(lambda: self._stores.sweep(self._leases.container_ids))
        except NodeError as problem:
            self._log.event("sweep_failed", message=str(problem))

    def _begin_create(self, request: CreateRequest) -> Done | Waits:
        began = time.monotonic()
        _refuse_second(request)
        spec = read_spec(request.bundle)
        decision = decide(spec)
        if isinstance(decision, Untouched):
            return Done(lambda: self._log.event("untouched", container=request.container_id, reason=decision.reason))
        wanted = replace(decision.wanted, token=find_token(spec))
        if wanted.lockfile is None:
            wanted = self._realiser.pin_down_at_once(wanted) or wanted
        asked = replace(decision, wanted=wanted)
        container = _Container(request, spec, Rootfs.look(request.bundle, spec), asked)
        realised = self._place_at_hand(container)
        if realised is None:
            return Waits(lambda: self._enter_and_tell(container, began))
        ended = time.monotonic()
        return Done(lambda: self._tell_created(container, realised, ended - began))

    async def _enter_and_tell(self, container: _Container, began: float) -> None:
        realised = await self._enter(container, container.request.deadline_s * _SHARE)
        self._tell_created(container, realised, time.monotonic() - began)

    def _tell_created(self, container: _Container, realised: Realised, seconds: float) -> None:
        self._log.event(
            "created",
            container=container.request.container_id,
            environment=str(realised.environment),
            generation=realised.generation,
            lockfile=str(realised.lockfile.digest),
            fetched_bytes=realised.fetched_bytes,
            ms=round(seconds * 1000, 1),
            warnings=container.decision.warnings,
        )

    async def _enter(self, container: _Container, deadline_s: float) -> Realised:
        """Waits for whatever there is to wait for: which generation is live, a download, others who want the same."""
        wanted, end = container.decision.wanted, time.monotonic() + deadline_s
        if wanted.lockfile is None:
            async with _waiting(wanted, end) as left_s:
                wanted = await self._realiser.pin_down(wanted, deadline_s=left_s)
            pinned = replace(container, decision=replace(container.decision, wanted=wanted))
            at_hand = await in_thread(lambda: self._place_at_hand(pinned))
            if at_hand is not None:
                return at_hand
        async with AsyncExitStack() as held:
            async with _waiting(wanted, end) as left_s:
                realised = await held.enter_async_context(self._realiser.holding(wanted, deadline_s=left_s))
            await in_thread(lambda: self._place(container, realised))
        return realised

    def _place_at_hand(self, container: _Container) -> Realised | None:
        realised = self._realiser.at_hand(container.decision.wanted)
        there = realised is not None and self._place(container, realised, look=True)
        return realised if there else None

    def _begin_exec(self, request: ExecRequest) -> Done | Waits:
        wanted = self._environment_of(request)
        if wanted is None:
            return Done(_nothing_to_tell)
        realised = self._realiser.at_hand(wanted)
        if realised is None or not self._realiser.is_here(realised, wanted.mode):
            return Waits(lambda: self._wait_and_join(request, wanted))
        _join(request, realised, wanted.mode)
        return Done(_nothing_to_tell)

    async def _wait_and_join(self, request: ExecRequest, wanted: Wanted) -> None:
        async with (
            _waiting(wanted, time.monotonic() + request.deadline_s * _SHARE) as left_s,
            self._realiser.holding(wanted, deadline_s=left_s) as realised,
        ):
            pass  # its container has a lease
        await in_thread(lambda: _join(request, realised, wanted.mode))

    def _environment_of(self, request: ExecRequest) -> Wanted | None:
        """None for a container that was left alone, or whose execs are to be."""
        try:
            lease = self._leases.find(request.key)
        except LeaseInvalid as problem:
            raise StoreFailed(f"container {request.container_id}: {problem}") from problem
        if lease is None:
            return None
        spec = read_spec(lease.bundle)
        if PinnedGeneration.of_mark(spec.annotations) is None:
            return None
        decision = decide(spec)
        if not isinstance(decision, InEnvironment) or not decision.exec_too:
            return None
        return replace(decision.wanted, shown=Shown.TO_ITS_PODS)

    def _place(self, container: _Container, realised: Realised, *, look: bool = False) -> bool:
        """Takes a lease and edits the bundle. Blocks.

        With `look` it is no more than likely that the environment is still here: False, and nothing done, if it is not.
        """
        request, spec, decision = container.request, container.spec, container.decision
        self._leases.take(request.key, request.bundle, realised.paths)
        try:
            if look and not self._realiser.is_here(realised, decision.wanted.mode):
                self._leases.drop(request.key)
                return False
            if realised.folders.is_private:
                refuse_as_layer(realised.folders.own, "give floxbridge-node another state directory")
            mutable = self._stores.make_mutable(request.key, spec.user_on_node) if decision.nix_mutable else None
            own = self._own_store(request.key, container.rootfs, realised)
            edited = apply_edits(
                spec, placement(spec, container.rootfs, realised, decision.wanted.mode, mutable=mutable, own=own)
            )
            if edited is not spec:
                write_spec(request.bundle, edited)
        except BaseException:
            self._leases.drop(request.key)  # and with the lease, at the next sweep, what it alone kept
            raise
        return True

    def _own_store(self, container_key: str, rootfs: Rootfs, realised: Realised) -> OwnStore | None:
        """What the image brings itself stays to be seen, but for what the environment has as well."""
        if rootfs.own_store is None:
            return None
        refuse_as_layer(rootfs.own_store, "use an image without packages of its own in /nix/store")
        names = rootfs.among_its_own(path.base_name for path in realised.paths)
        return OwnStore(rootfs.own_store, self._stores.hide(container_key, names) if names else None)


def _refuse_second(request: CreateRequest) -> None:
    """The runtime would refuse it, too, and then the container of this id had lost its lease and its store to it.

    Runtimes keep what they know of a container in a folder of its name below their root.
    """
    if not request.root.startswith(b"/"):
        return
    place = Path(os.fsdecode(request.root)) / request.container_id
    if os.path.lexists(place):
        raise Refused(
            f"there is a container {request.container_id} already, with its state in {place}: delete it first, or give "
            "this one another id"
        )


def _nothing_to_tell() -> None:
    """Execs are in no log: a probe is one, every second."""


def _join(request: ExecRequest, realised: Realised, mode: Mode) -> None:
    write_process(request.process, joined(read_process(request.process), realised, mode))


@asynccontextmanager
async def _waiting(wanted: Wanted, end: float) -> AsyncIterator[float]:
    """Until `end` of the monotonic clock; gives how many seconds that is. Raises RegistryUnavailable."""
    left_s = max(0.0, end - time.monotonic())
    try:
        async with asyncio.timeout(left_s):
            yield left_s
    except TimeoutError as error:
        raise RegistryUnavailable(
            f"environment {wanted.environment} is not on the node after {left_s:.0f} s; "
            "fetching goes on, and the next try finds more of it"
        ) from error

"""The agent: what is done for each container that the launcher tells about.

Belongs here: the order of things for a create, an exec and a delete. Does not: the socket (`agent_socket.py`), what a
container gets (`bundle/decision.py`), how an environment comes onto the node (`environment/realise.py`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from flox_formats.store_path import StorePath
from shim_hooks.bundle.decision import InEnvironment, Untouched, decide
from shim_hooks.bundle.edits import OwnStore, apply_edits
from shim_hooks.bundle.file import read_process, read_spec, write_process, write_spec
from shim_hooks.bundle.pinned import PinnedGeneration
from shim_hooks.bundle.placing import joined, placement
from shim_hooks.bundle.rootfs import Rootfs
from shim_hooks.bundle.spec import Spec
from shim_hooks.bundle.token_mount import find_token
from shim_hooks.environment.realise import Realised, Wanted
from shim_hooks.errors import NodeError, RegistryUnavailable, StoreFailed
from shim_hooks.launcher_protocol import CreateRequest, DeleteRequest, ExecRequest
from shim_hooks.log import Log
from shim_hooks.store.container_stores import ContainerStores, refuse_as_layer
from shim_hooks.store.leases import Lease, LeaseInvalid
from shim_hooks.threads import in_thread

_SHARE = 0.9
"""Of the launcher's deadline, for realising. The rest is for the answer, which says more than the launcher could."""


class Realiser(Protocol):
    """Within the context nothing is taken away: there a lease is taken."""

    def holding(self, wanted: Wanted, *, deadline_s: float) -> AbstractAsyncContextManager[Realised]: ...


class Leases(Protocol):
    """Who uses which store paths. `sweep` drops the leases of containers whose bundle is gone, and tells which."""

    def take(self, container_id: str, bundle: Path, paths: Iterable[StorePath]) -> None: ...

    def drop(self, container_id: str) -> None: ...

    def find(self, container_id: str) -> Lease | None: ...

    def container_ids(self) -> Collection[str]: ...

    def sweep(self) -> Sequence[str]: ...


class Agent:
    def __init__(self, realiser: Realiser, leases: Leases, stores: ContainerStores, log: Log) -> None:
        self._realiser, self._leases, self._stores, self._log = realiser, leases, stores, log
        self._deleted = asyncio.Event()

    async def create(self, request: CreateRequest) -> None:
        """Puts the bundle into its environment. Raises NodeError, and then the bundle is as it was."""
        began = time.monotonic()
        spec = await in_thread(lambda: read_spec(request.bundle))
        decision = decide(spec)
        if isinstance(decision, Untouched):
            self._log.event("untouched", container=request.container_id, reason=decision.reason)
            return
        token = await in_thread(lambda: find_token(spec))
        asked = replace(decision, wanted=replace(decision.wanted, token=token))
        realised = await self._enter(request, spec, asked)
        self._log.event(
            "created",
            container=request.container_id,
            environment=str(realised.environment),
            generation=realised.generation,
            lockfile=str(realised.lockfile.digest),
            fetched_bytes=realised.fetched_bytes,
            ms=round((time.monotonic() - began) * 1000, 1),
            warnings=decision.warnings,
        )

    async def exec(self, request: ExecRequest) -> None:
        """Puts a process that joins a running container into its environment. Raises NodeError, as `create` does.

        Which environment that is, the container's own bundle says, also to an agent that was not there at its create.
        """
        wanted = await in_thread(lambda: self._environment_of(request.container_id))
        if wanted is None:
            return
        process = await in_thread(lambda: read_process(request.process))
        async with self._holding(wanted, request.deadline_s * _SHARE) as realised:  # its container has a lease
            pass
        await in_thread(lambda: write_process(request.process, joined(process, realised, wanted.mode)))

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
            await in_thread(lambda: self._stores.sweep(self._leases.container_ids))
        except NodeError as problem:
            self._log.event("sweep_failed", message=str(problem))
            return
        if dropped:
            self._log.event("leases_dropped", containers=dropped)

    async def _enter(self, request: CreateRequest, spec: Spec, decision: InEnvironment) -> Realised:
        rootfs = await in_thread(lambda: Rootfs.look(request.bundle, spec))
        async with self._holding(decision.wanted, request.deadline_s * _SHARE) as realised:
            await in_thread(lambda: self._place(request, spec, rootfs, realised, decision))
        return realised

    @asynccontextmanager
    async def _holding(self, wanted: Wanted, deadline_s: float) -> AsyncIterator[Realised]:
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(deadline_s):
                    realised = await held.enter_async_context(self._realiser.holding(wanted, deadline_s=deadline_s))
            except TimeoutError as error:
                raise RegistryUnavailable(
                    f"environment {wanted.environment} is not on the node after {deadline_s:.0f} s; "
                    "fetching goes on, and the next try finds more of it"
                ) from error
            yield realised

    def _environment_of(self, container_id: str) -> Wanted | None:
        """None for a container that was left alone, or whose execs are to be."""
        try:
            lease = self._leases.find(container_id)
        except LeaseInvalid as problem:
            raise StoreFailed(f"container {container_id}: {problem}") from problem
        if lease is None:
            return None
        spec = read_spec(lease.bundle)
        if PinnedGeneration.of_mark(spec.annotations) is None:
            return None
        decision = decide(spec)
        if not isinstance(decision, InEnvironment) or not decision.exec_too:
            return None
        return replace(decision.wanted, access_granted=True)

    def _place(
        self, request: CreateRequest, spec: Spec, rootfs: Rootfs, realised: Realised, decision: InEnvironment
    ) -> None:
        self._leases.take(request.container_id, request.bundle, realised.paths)
        try:
            mutable = self._stores.make_mutable(request.container_id, spec.user) if decision.nix_mutable else None
            own = self._own_store(request.container_id, rootfs, realised)
            edited = apply_edits(
                spec, placement(spec, rootfs, realised, decision.wanted.mode, mutable=mutable, own=own)
            )
            if edited is not spec:
                write_spec(request.bundle, edited)
        except BaseException:
            self._leases.drop(request.container_id)  # and with the lease, at the next sweep, what it alone kept
            raise

    def _own_store(self, container_id: str, rootfs: Rootfs, realised: Realised) -> OwnStore | None:
        """What the image brings itself stays to be seen, but for what the environment has as well."""
        if rootfs.own_store is None:
            return None
        refuse_as_layer(rootfs.own_store, "use an image without packages of its own in /nix/store")
        names = rootfs.among_its_own(path.base_name for path in realised.paths)
        return OwnStore(rootfs.own_store, self._stores.hide(container_id, names) if names else None)

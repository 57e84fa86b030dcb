"""A closure on its way to the node: asked for, judged, fetched and recorded.

Belongs here: what of the registry's words is believed, who may see a path, and how far it is. Does not: the bytes of
one path (`path_fetches.py`), linking, and who waits for how long (`realise.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from flox_formats.closure import ClosureDocument, ClosurePath
from flox_formats.digest import Digest
from flox_formats.lockfile import Lockfile, LockfileInvalid
from flox_formats.narinfo import PathUntrusted, path_fingerprint, verify_path
from flox_formats.signature import TrustedKeys
from flox_formats.system import System
from shim_hooks.environment.path_fetches import Blobs, PathFetch, PathFetches
from shim_hooks.environment.progress import Meter, Progress
from shim_hooks.environment.turns import Line
from shim_hooks.errors import ContentRejected, NodeError, Refused, RegistryRefused, StoreFailed
from shim_hooks.registry.client import FetchedClosure
from shim_hooks.registry.environment import RegistryEnvironment
from shim_hooks.store.closures import ClosureRecord
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.pins import Pin
from shim_hooks.store.store_folders import StoreFolders
from shim_hooks.threads import in_thread


class ClosureSource(Blobs, Protocol):
    async def closure(self, found: RegistryEnvironment) -> FetchedClosure: ...


class ClosureFetch:
    """`run` once. `fetched_bytes` and `progress` can be looked at meanwhile and after. `pin` gets all of its paths;
    they wait for their turn in `line`.

    What is missing in `folders` comes into their own, or where all see it if a `public` key signed it: what the cache
    of such a key has, anybody can fetch. `clock` is for the rate that `progress` tells.

    Raises Refused for a lockfile that cannot be run here, ContentRejected for what cannot be believed, and what the
    registry and the disk raise.
    """

    def __init__(
        self,
        found: RegistryEnvironment,
        system: System,
        *,
        registry: ClosureSource,
        paths: PathFetches,
        store: NodeStore,
        folders: StoreFolders,
        trusted: TrustedKeys,
        public: TrustedKeys,
        pin: Pin,
        line: Line,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._found, self._system, self._pin, self._line, self._clock = found, system, pin, line, clock
        self._registry, self._paths, self._store, self._folders = registry, paths, store, folders
        self._trusted, self._public = trusted, public
        self._started: list[PathFetch] = []
        self._wanted: list[PathFetch] = []
        self._meter: Meter | None = None

    @property
    def fetched_bytes(self) -> int:
        """Off the network on this closure's behalf, compressed. What another closure fetched already is not in it."""
        return sum(fetch.received for fetch in self._started)

    @property
    def progress(self) -> Progress | None:
        """None until the registry has said what belongs to the closure."""
        if self._meter is None:
            return None
        return Progress(
            done=sum(fetch.done for fetch in self._wanted),
            total=sum(fetch.path.blob_size for fetch in self._wanted),
            paths_done=sum(fetch.is_there for fetch in self._wanted),
            paths=len(self._wanted),
            rate=self._meter.rate,
        )

    async def run(self) -> ClosureRecord:
        fetched = await self._registry.closure(self._found)
        record = await in_thread(lambda: self._judge(fetched))
        missing = await in_thread(lambda: self._missing(record.document))
        self._meter = Meter(self._clock)
        # The largest first, so that none of them is left to be waited for alone.
        missing.sort(key=lambda each: each[0].blob_size, reverse=True)
        # The first failure is told at once. The others go on: what they fetch is there for the next try.
        await asyncio.gather(*[self._brought(*each) for each in missing])
        await in_thread(lambda: self._store.closures.keep(record, origin=self._found))
        return record

    def _brought(self, path: ClosurePath, place: Path) -> Awaitable[None]:
        """Ends when a path is at its place. Who waits can go: the fetch goes on."""
        fetch = self._paths.join(place, self._line)
        if fetch is not None:
            self._want(fetch)
            return self._brought_by_another(fetch, path)
        fetch = self._paths.start(self._found.repository, path, place, self._registry, self._line)
        self._started.append(fetch)
        self._want(fetch)
        return asyncio.shield(fetch.task)

    async def _brought_by_another(self, fetch: PathFetch, path: ClosurePath) -> None:
        """It began on another closure's behalf, and what stopped it need not stop this one."""
        try:
            await asyncio.shield(fetch.task)
        except NodeError as problem:
            if not _concerns_only(fetch.path, path, problem):
                raise
            self._wanted.remove(fetch)
            await self._brought(path, fetch.place)

    def _want(self, fetch: PathFetch) -> None:
        assert self._meter is not None
        fetch.tell(self._meter.add)
        self._wanted.append(fetch)

    def _judge(self, fetched: FetchedClosure) -> ClosureRecord:
        """Every path is vouched for by a key that is trusted here, and the lockfile's packages are all there."""
        if Digest.of(fetched.lockfile) != self._found.lockfile:
            raise ContentRejected(f"{self._found}: the registry sent another lockfile than {self._found.lockfile}")
        try:
            lockfile = Lockfile.parse(fetched.lockfile)
            outputs = lockfile.selected_outputs(self._system)
        except LockfileInvalid as problem:
            raise Refused(f"{self._found}: {problem}") from problem
        document = fetched.document
        if document.system != self._system:
            raise ContentRejected(f"{self._found}: asked for the closure for {self._system}, got {document.system}")
        listed = document.by_store_path()
        for output in outputs:
            if output.store_path not in listed:
                raise ContentRejected(f"{self._found}: its closure lacks {output.store_path}, of {output.install_id!r}")
        for path in document.paths:
            self._verify(path)
        return ClosureRecord(lockfile, document)

    def _verify(self, path: ClosurePath) -> None:
        try:
            verify_path(
                path.store_path,
                path.nar_hash,
                path.nar_size,
                path.references,
                path.signatures,
                path.content_address,
                self._trusted,
            )
        except PathUntrusted as problem:
            raise ContentRejected(f"{self._found}: {problem}") from problem

    def _missing(self, document: ClosureDocument) -> list[tuple[ClosurePath, Path]]:
        """With the place where each is to lie."""
        paths = document.by_store_path()
        self._pin.add(paths)
        return [(paths[each], self._place(paths[each])) for each in self._folders.missing(paths)]

    def _place(self, path: ClosurePath) -> Path:
        fingerprint = path_fingerprint(path.store_path, path.nar_hash, path.nar_size, path.references)
        is_shared = self._folders.is_private and self._public.signed(fingerprint, path.signatures)
        return (self._folders.shared if is_shared else self._folders.own) / path.store_path.base_name


def _concerns_only(theirs: ClosurePath, ours: ClosurePath, problem: NodeError) -> bool:
    """Whether a fetch of the same path from another repository, as somebody else, can end better than theirs."""
    return isinstance(problem, RegistryRefused) or (theirs != ours and not isinstance(problem, StoreFailed))

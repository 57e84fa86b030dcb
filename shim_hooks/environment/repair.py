"""What is broken in the store, mended: paths fetched anew and checked, environments linked anew, and put in its place.

Belongs here: from where, and what is done where nobody can say from where. Does not: finding it (`store/verify.py`,
`verify_links.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Protocol

from shim_hooks.environment.environment_directory import write_environment
from shim_hooks.environment.growing_blob import growing_blob
from shim_hooks.environment.verify_links import BrokenLinks, planned
from shim_hooks.errors import NodeError, RegistryRefused
from shim_hooks.registry.client import FetchedClosure
from shim_hooks.registry.environment import RegistryEnvironment
from shim_hooks.store.blob_file import BlobFile
from shim_hooks.store.leases import Leases
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.unpack import unpack
from shim_hooks.store.verify import Broken
from shim_hooks.threads import entered_in_thread, in_thread


class Registry(Protocol):
    async def closure(self, found: RegistryEnvironment) -> FetchedClosure: ...

    async def download(self, repository: str, blob: BlobFile, *, received: Callable[[int], None]) -> None: ...


class Mended(StrEnum):
    FETCHED = "fetched anew"
    LINKED = "linked anew"
    REMOVED = "removed; what needs it fetches it anew"
    IN_USE = "left as it is, because a container uses it"
    LEFT = "left as it is"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`problem` is why it could not be made anew."""

    mended: Mended
    problem: str | None = None


@dataclass
class Repair:
    registry: Registry
    store: NodeStore
    leases: Leases
    _closures: dict[RegistryEnvironment, FetchedClosure] = field(default_factory=dict)

    async def mend(self, broken: Broken) -> Outcome:
        """Raises StoreFailed. What the registry cannot give is removed unless a container uses it."""
        problem = "nobody noted where it came from"
        for key in broken.closures:
            origin = await in_thread(partial(self.store.closures.origin, key))
            if origin is None:
                continue
            try:
                await self._fetch(origin, broken)
            except NodeError as failure:
                problem = str(failure)
                continue
            return Outcome(Mended.FETCHED)
        return Outcome(await in_thread(lambda: self._remove(broken)), problem)

    async def mend_links(self, broken: BrokenLinks) -> Outcome:
        """Raises StoreFailed. All that it links to is whole."""
        return await in_thread(lambda: self._link(broken))

    async def _fetch(self, origin: RegistryEnvironment, broken: Broken) -> None:
        if origin not in self._closures:
            self._closures[origin] = await self.registry.closure(origin)
        path = self._closures[origin].document.by_store_path().get(broken.path.store_path)
        if path is None or path.nar_hash not in (promised.nar_hash for promised in broken.promised):
            raise RegistryRefused(f"{broken.path.store_path}: the registry now has another one for {origin}")
        async with entered_in_thread(self.store.staging()) as staging:
            tree = staging / broken.place.name
            async with growing_blob(self.store, path, staging) as blob:
                await self.registry.download(origin.repository, blob, received=lambda _: None)
                # Compared with what a trusted key signed when the closure was fetched, not with what is said today.
                await in_thread(lambda: unpack(blob.path, path, tree))
                await in_thread(blob.discard)
            await in_thread(lambda: self.store.replace(tree, broken.place))

    def _link(self, broken: BrokenLinks) -> Outcome:
        try:
            files = planned(self.store, broken.folders, broken.path, broken.linked, ())
        except NodeError as problem:  # something was taken away meanwhile
            return Outcome(Mended.LEFT, str(problem))
        with self.store.staging() as staging:
            tree = staging / broken.place.name
            write_environment(tree, files, broken.path)
            self.store.replace(tree, broken.place)
        return Outcome(Mended.LINKED)

    def _remove(self, broken: Broken) -> Mended:
        """With the environments that link to it: complete again, they would be taken for whole ones."""
        linked = self.store.linked.read()
        with self.store.taking_away() as taken, self.store.lock.exclusive():
            # In this order: who lets go of a pin has a lease by then.
            pinned = self.store.pinned()
            kept = pinned | self.leases.leased()
            if broken.place.name in kept:
                return Mended.IN_USE
            for key in broken.closures:
                self.store.closures.drop(key)
            environments = (path.base_name for path, its in linked.items() if its.closure in broken.closures)
            for name in environments:
                for folders in self.store.all_folders():
                    if name not in kept:
                        taken.add(folders.own / name)
            taken.add(broken.place)
        return Mended.REMOVED

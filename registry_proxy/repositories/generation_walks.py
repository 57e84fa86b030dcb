"""Walks through the generations of environments, newest first, that make what costs little until a digest is found.

Belongs here: how far each walk has come, and which digests the artifacts on its way have. No way is gone twice:
otherwise anyone could have every generation made again, with each digest that they make up.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.images.audit_trail import AuditTrails
from registry_proxy.repositories.generation_images import GenerationImages
from registry_proxy.repositories.index_referrers import IndexReferrers

_FORGET_S = 600.0
"""What was made and then lost, with all of the state directory, is made again after so long."""
_MAX_REMEMBERED = 50_000
"""Digests and walks, together."""
T = TypeVar("T")
Look = Callable[[], Awaitable[T | None]]


@dataclass(slots=True)
class _Walk:
    """`at` of `numbers` have been made. `makers` has the generation whose artifacts have a digest: those are made, and
    kept, when somebody asks for one."""

    numbers: list[int]
    began: float
    at: int = 0
    makers: dict[Digest, int] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class GenerationWalks:
    """One for each commit of an environment, for all who look for something in it."""

    def __init__(
        self, images: GenerationImages, index_referrers: IndexReferrers, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._images, self._index_referrers, self._clock = images, index_referrers, clock
        self._walks: OrderedDict[tuple[EnvironmentName, str], _Walk] = OrderedDict()

    async def find(self, snapshot: Snapshot, digest: Digest, look: Look[T]) -> T | None:
        """What `look` finds of `digest`, at once or after making images, and the referrers that need no closure.

        Raises StorageFailed, FloxHubGarbled.
        """
        found = await look()
        if found is not None:
            return found
        walk, trails = self._walk(snapshot), AuditTrails(snapshot.generations.history)
        while digest not in walk.makers:
            at = walk.at
            found = await look()
            if found is not None or at == len(walk.numbers):
                return found
            await self._go_on(walk, at, snapshot, trails)
        image = await self._images.usable(snapshot, walk.makers[digest])
        if image is not None:
            await self._index_referrers.make(image, trails, digest)
        return await look()

    def forget(self, environment: EnvironmentName) -> None:
        """What was made of it is gone."""
        for key in [key for key in self._walks if key[0] == environment]:
            del self._walks[key]

    def _walk(self, snapshot: Snapshot) -> _Walk:
        key = (snapshot.environment, snapshot.commit)
        walk = self._walks.get(key)
        if walk is None or self._clock() - walk.began > _FORGET_S:
            self._make_room()
            walk = self._walks[key] = _Walk(sorted(snapshot.generations.generations, reverse=True), self._clock())
        self._walks.move_to_end(key)
        return walk

    async def _go_on(self, walk: _Walk, at: int, snapshot: Snapshot, trails: AuditTrails) -> None:
        """One generation further than `at`, unless somebody else was there meanwhile."""
        async with walk.turn:
            if walk.at != at:
                return
            image = await self._images.usable(snapshot, walk.numbers[at])
            if image is not None:
                for digest in await self._index_referrers.digests(image, trails):
                    walk.makers.setdefault(digest, walk.numbers[at])
            walk.at += 1

    def _make_room(self) -> None:
        remembered = sum(1 + len(walk.makers) for walk in self._walks.values())
        while remembered > _MAX_REMEMBERED:
            remembered -= 1 + len(self._walks.popitem(last=False)[1].makers)

"""The images of an environment's generations: each is made once, kept on disk, and remembered for a while.

Belongs here: from a generation to its image. Which of them answers a question is in `environments.py`.

Two memories, since what most requests want is the index, two kilobytes, and the rest of an image, its lockfile above
all, is a hundred: a registry for a thousand environments remembers all of their indexes and a few of their lockfiles.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread

from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generation
from registry_proxy.content.holdings import Holding, Holdings
from registry_proxy.content.store import ContentStore
from registry_proxy.errors import CommitLost, EnvironmentUnusable
from registry_proxy.flights import Flights
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.urls import FloxHubUrls
from registry_proxy.images.content import Content
from registry_proxy.images.environment_image import EnvironmentImage

_MAX_IMAGES = 32
_MAX_INDEXES = 10_000
_ImageKey = tuple[EnvironmentName, str, int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GenerationIndex:
    """The index of a generation's image, which is on disk; `environment` is spelled as on FloxHub."""

    environment: EnvironmentName
    number: int
    content: Content


class GenerationImages:
    """One making in flight per generation."""

    def __init__(
        self,
        urls: FloxHubUrls,
        store: ContentStore,
        holdings: Holdings,
        threads: anyio.CapacityLimiter,
        *,
        lost: Callable[[Snapshot], Awaitable[None]],
    ) -> None:
        """`lost` is told of a snapshot whose files are gone."""
        self._urls, self._store, self._holdings, self._threads, self._lost = urls, store, holdings, threads, lost
        self._images: OrderedDict[_ImageKey, EnvironmentImage] = OrderedDict()
        self._indexes: OrderedDict[_ImageKey, GenerationIndex] = OrderedDict()
        self._flights = Flights[_ImageKey, EnvironmentImage]("image")

    async def image(self, snapshot: Snapshot, generation: Generation) -> EnvironmentImage:
        """Raises EnvironmentUnusable, StorageFailed."""
        key = (snapshot.environment, snapshot.commit, generation.number)
        image = self._images.get(key)
        if image is None:
            image = await self._flights.join(key, lambda: self._made(snapshot, generation))
            _remember(self._images, key, image, _MAX_IMAGES)
            _remember(self._indexes, key, _index_of(image), _MAX_INDEXES)
        else:
            self._images.move_to_end(key)
        return image

    async def index(self, snapshot: Snapshot, generation: Generation) -> GenerationIndex:
        """The same, where the index is enough."""
        key = (snapshot.environment, snapshot.commit, generation.number)
        return self._remembered_index(key) or _index_of(await self.image(snapshot, generation))

    def index_at_hand(self, snapshot: Snapshot) -> GenerationIndex | None:
        """The index of the live generation, where it was made already and is remembered."""
        return self._remembered_index((snapshot.environment, snapshot.commit, snapshot.generations.live or 0))

    async def usable(self, snapshot: Snapshot, number: int) -> EnvironmentImage | None:
        """The image of a generation that exists; None where none can be made of it, and so nothing has its digest."""
        try:
            return await self.image(snapshot, snapshot.generation(number))
        except EnvironmentUnusable:
            return None

    def forget(self, environment: EnvironmentName) -> None:
        """Makes them again when they are next asked for: what was kept on disk is gone."""
        for memory in (self._images, self._indexes):
            for key in [key for key in memory if key[0] == environment]:
                del memory[key]

    async def aclose(self) -> None:
        await self._flights.aclose()

    def _remembered_index(self, key: _ImageKey) -> GenerationIndex | None:
        index = self._indexes.get(key)
        if index is not None:
            self._indexes.move_to_end(key)
        return index

    async def _made(self, snapshot: Snapshot, generation: Generation) -> EnvironmentImage:
        try:
            return await anyio.to_thread.run_sync(self._make, snapshot, generation, limiter=self._threads)
        except CommitLost:
            await self._lost(snapshot)
            raise

    def _make(self, snapshot: Snapshot, generation: Generation) -> EnvironmentImage:
        """Blocks. The image is on disk, with its place in the repository, before anybody is told its digest."""
        lockfile = snapshot.lockfile(generation.number)
        if not lockfile.linux_systems():
            raise EnvironmentUnusable(
                f"generation {generation.number} of {snapshot.environment} is not locked for Linux, only for "
                f"{', '.join(lockfile.systems()) or 'no system'}: add x86_64-linux or aarch64-linux to options.systems"
            )
        page = self._urls.page(snapshot.environment)
        image = EnvironmentImage(snapshot.environment, page, generation, lockfile)
        contents = (*image.manifest_contents, *image.blob_contents)
        for content in contents:
            self._store.keep(content.data)
        if image.index.digest not in self._holdings.of(snapshot.environment):
            holdings = [Holding(content.digest, content.media_type, len(content.data)) for content in contents]
            self._holdings.add(snapshot.environment, image.index.digest, holdings)
        return image


def _index_of(image: EnvironmentImage) -> GenerationIndex:
    return GenerationIndex(image.environment, image.generation.number, image.index)


def _remember(memory: OrderedDict[_ImageKey, T], key: _ImageKey, value: T, at_most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > at_most:
        memory.popitem(last=False)

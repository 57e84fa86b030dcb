"""The images of an environment's generations: each is made once, kept on disk, and remembered for a while.

Belongs here: from a generation to its image. Which of them answers a question is in `environments.py`.
"""

from collections import OrderedDict

import anyio
import anyio.to_thread

from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generation
from registry_proxy.content.holdings import Holding, Holdings
from registry_proxy.content.store import ContentStore
from registry_proxy.errors import EnvironmentUnusable
from registry_proxy.flights import Flights
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.urls import FloxHubUrls
from registry_proxy.images.environment_image import EnvironmentImage

_MAX_IMAGES = 1_000
_ImageKey = tuple[EnvironmentName, str, int]


class GenerationImages:
    """One making in flight per generation."""

    def __init__(self, urls: FloxHubUrls, store: ContentStore, holdings: Holdings, threads: anyio.CapacityLimiter):
        self._urls, self._store, self._holdings, self._threads = urls, store, holdings, threads
        self._images: OrderedDict[_ImageKey, EnvironmentImage] = OrderedDict()
        self._flights = Flights[_ImageKey, EnvironmentImage]("image")

    async def image(self, snapshot: Snapshot, generation: Generation) -> EnvironmentImage:
        """Raises EnvironmentUnusable, StorageFailed."""
        key = (snapshot.environment, snapshot.commit, generation.number)
        image = self._images.get(key)
        if image is None:
            image = await self._flights.join(key, lambda: self._made(snapshot, generation))
            self._images[key] = image
            while len(self._images) > _MAX_IMAGES:
                self._images.popitem(last=False)
        else:
            self._images.move_to_end(key)
        return image

    def at_hand(self, snapshot: Snapshot) -> EnvironmentImage | None:
        """The image of the live generation, where it was made already and is remembered."""
        number = snapshot.generations.live
        key = (snapshot.environment, snapshot.commit, number or 0)
        image = self._images.get(key)
        if image is not None:
            self._images.move_to_end(key)
        return image

    async def usable(self, snapshot: Snapshot, number: int) -> EnvironmentImage | None:
        """The image of a generation that exists; None where none can be made of it, and so nothing has its digest."""
        try:
            return await self.image(snapshot, snapshot.generation(number))
        except EnvironmentUnusable:
            return None

    def forget(self, environment: EnvironmentName) -> None:
        """Makes them again when they are next asked for: what was kept on disk is gone."""
        for key in [key for key in self._images if key[0] == environment]:
            del self._images[key]

    async def aclose(self) -> None:
        await self._flights.aclose()

    async def _made(self, snapshot: Snapshot, generation: Generation) -> EnvironmentImage:
        return await anyio.to_thread.run_sync(self._make, snapshot, generation, limiter=self._threads)

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

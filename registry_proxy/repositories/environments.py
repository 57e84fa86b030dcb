"""The repositories `flox/empty/<owner>/<name>`: tags, manifests, blobs and referrers of one environment each.

Belongs here: which bytes answer a question. An image is made when it is first asked for, kept by digest, and made again
where it was lost or never seen: the content store first, else the environment's generations, newest first (design 4.2).
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread

from flox_formats.closure import ARTIFACT_TYPE
from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generation
from registry_proxy.content.downloads import Download, Downloads
from registry_proxy.content.holdings import Holding, Holdings
from registry_proxy.content.store import ContentStore, StoredBlob
from registry_proxy.errors import (
    BlobUnknown,
    ClosureUnavailable,
    EnvironmentUnusable,
    ManifestUnknown,
    NixCacheUnavailable,
)
from registry_proxy.flights import Flights
from registry_proxy.floxhub.credential import View
from registry_proxy.floxhub.resolver import Outcome, Resolution, Resolver
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.urls import FloxHubUrls
from registry_proxy.images.content import INDEX, MANIFEST, Content
from registry_proxy.images.environment_image import EnvironmentImage
from registry_proxy.images.reference import GenerationTag, Tag
from registry_proxy.nix.binary_cache import BinaryCache
from registry_proxy.repositories.closures import Closures

_MAX_IMAGES = 1_000
_MANIFEST_TYPES = (INDEX, MANIFEST)
_ImageKey = tuple[EnvironmentName, str, int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """The image of a tag, and how that was known."""

    image: EnvironmentImage
    resolution: Resolution


class EnvironmentImages:
    """Everything raised is a RegistryError."""

    def __init__(
        self,
        resolver: Resolver,
        urls: FloxHubUrls,
        store: ContentStore,
        holdings: Holdings,
        downloads: Downloads,
        closures: Closures,
        caches: dict[str, BinaryCache],
        threads: anyio.CapacityLimiter,
    ) -> None:
        """`caches` are the binary caches by the URL that a NAR's source names."""
        self._resolver, self._urls, self._closures = resolver, urls, closures
        self._store, self._holdings, self._downloads, self._caches = store, holdings, downloads, caches
        self._threads = threads
        self._images: OrderedDict[_ImageKey, EnvironmentImage] = OrderedDict()
        self._flights = Flights[_ImageKey, EnvironmentImage]("image")

    async def tagged(self, view: View, tag: Tag) -> TaggedImage:
        if isinstance(tag, GenerationTag):
            resolution = await self._resolver.pinned(view, tag.number)
            generation = resolution.snapshot.generation(tag.number)
        else:
            resolution = await self._resolver.live(view)
            generation = resolution.snapshot.live()
        return TaggedImage(await self._image(resolution.snapshot, generation), resolution)

    async def tags(self, view: View) -> list[str]:
        """In lexical order, as the specification wants them."""
        generations = (await self._resolver.live(view)).snapshot.generations
        moving = ["latest", "live"] if generations.live is not None else []
        return sorted([*moving, *map(str, generations.generations)])

    async def manifest(self, view: View, digest: Digest) -> Content:
        holding = await self._find(view, digest)
        if holding is None or holding.media_type not in _MANIFEST_TYPES:
            raise ManifestUnknown(f"no generation of {view} has a manifest {digest}")
        return Content(holding.media_type, await self._stored(view, holding))

    async def blob(self, view: View, digest: Digest) -> StoredBlob | Download:
        holding = await self._find(view, digest)
        if holding is None:
            raise BlobUnknown(f"no generation of {view} has a blob {digest}")
        stored = await self._in_thread(lambda: self._store.find(digest))
        source = holding.source
        if stored is not None or source is None:
            return stored or await self._remade(view, digest)
        cache = self._caches.get(source.cache)
        if cache is None:
            raise NixCacheUnavailable(f"blob {digest} ({source.what}) comes from {source.cache}, no longer configured")
        return await self._downloads.join(digest, holding.size, lambda: cache.nar(source.url), what=source.what)

    async def referrers(self, view: View, digest: Digest) -> list[dict[str, object]]:
        """Descriptors of what refers to `digest`: the closure artifact of a platform manifest."""
        holding = await self._find(view, digest)
        if holding is None or holding.media_type != MANIFEST or holding.subject is not None:
            return []
        exact = (await self._resolver.proved(view)).snapshot.environment
        artifact = await self._closures.artifact(exact, Content(MANIFEST, await self._stored(view, holding)))
        return [artifact.descriptor(artifactType=ARTIFACT_TYPE)]

    async def aclose(self) -> None:
        await self._flights.aclose()

    async def _find(self, view: View, digest: Digest) -> Holding | None:
        """What is known of `digest`, if need be after making every image, then every closure, of the environment.

        FloxHub has shown the environment to whoever asks within the last minute. An older answer than live will do at
        first; the digest may come from a replica that knows a newer one.
        """
        resolution = await self._resolver.proved(view)
        found = await self._search(resolution.snapshot, digest)
        if found is None and resolution.outcome is not Outcome.FRESH:
            newer = await self._resolver.live(view)
            if newer.snapshot.commit != resolution.snapshot.commit:
                resolution, found = newer, await self._search(newer.snapshot, digest)
        return found or await self._search_closures(resolution.snapshot, digest)

    async def _search(self, snapshot: Snapshot, digest: Digest) -> Holding | None:
        held = await self._held(snapshot.environment)
        if digest in held:
            return held[digest]
        for number in sorted(snapshot.generations.generations, reverse=True):
            try:
                await self._image(snapshot, snapshot.generation(number))
            except EnvironmentUnusable:
                continue  # a generation that has no image has no digest either
            held = await self._held(snapshot.environment)
            if digest in held:
                return held[digest]
        return None

    async def _search_closures(self, snapshot: Snapshot, digest: Digest) -> Holding | None:
        for number in sorted(snapshot.generations.generations, reverse=True):
            try:
                image = await self._image(snapshot, snapshot.generation(number))
                for manifest in image.manifests.values():
                    await self._closures.artifact(snapshot.environment, manifest)
            except (EnvironmentUnusable, ClosureUnavailable):
                continue
            held = await self._held(snapshot.environment)
            if digest in held:
                return held[digest]
        return None

    async def _image(self, snapshot: Snapshot, generation: Generation) -> EnvironmentImage:
        key = (snapshot.environment, snapshot.commit, generation.number)
        image = self._images.get(key)
        if image is None:
            image = await self._flights.join(
                key, lambda: self._in_thread(lambda: self._make_image(snapshot, generation))
            )
            self._images[key] = image
            while len(self._images) > _MAX_IMAGES:
                self._images.popitem(last=False)
        else:
            self._images.move_to_end(key)
        return image

    def _make_image(self, snapshot: Snapshot, generation: Generation) -> EnvironmentImage:
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

    async def _stored(self, view: View, holding: Holding) -> bytes:
        data = await self._in_thread(lambda: self._store.read(holding.digest))
        if data is None:
            stored = await self._remade(view, holding.digest)
            data = await self._in_thread(stored.path.read_bytes)
        return data

    async def _remade(self, view: View, digest: Digest) -> StoredBlob:
        """Bytes that were here once and are not now: somebody emptied the store below us."""
        snapshot = (await self._resolver.proved(view)).snapshot
        for key in [key for key in self._images if key[0] == snapshot.environment]:
            del self._images[key]
        for number in snapshot.generations.generations:
            try:
                await self._image(snapshot, snapshot.generation(number))
            except EnvironmentUnusable:
                continue
        stored = await self._in_thread(lambda: self._store.find(digest))
        if stored is None:
            raise BlobUnknown(f"{digest} of {view} is gone from the content store, and no generation makes it")
        return stored

    async def _held(self, environment: EnvironmentName) -> Mapping[Digest, Holding]:
        return await self._in_thread(lambda: self._holdings.of(environment))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function, limiter=self._threads)

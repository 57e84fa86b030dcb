"""The repositories `flox/empty/<owner>/<name>`: tags, manifests, blobs and referrers of one environment each.

Belongs here: which bytes answer a question. An image is made when it is first asked for, kept by digest, and made again
where it was lost or never seen: the content store first, else the environment's generations, newest first (design 4.2).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

from flox_formats.closure import ARTIFACT_TYPE
from flox_formats.digest import Digest
from flox_formats.generations import Generation
from registry_proxy.content.downloads import Download, Downloads
from registry_proxy.content.holdings import Holding, Holdings
from registry_proxy.content.store import ContentStore, StoredBlob
from registry_proxy.errors import (
    BlobUnknown,
    ClosureUnavailable,
    EnvironmentUnusable,
    FloxHubUnavailable,
    ManifestUnknown,
    NixCacheUnavailable,
    RegistryError,
)
from registry_proxy.floxhub.credential import View
from registry_proxy.floxhub.resolver import Outcome, Resolution, Resolver
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.images.annotations import GENERATION
from registry_proxy.images.audit_trail import AuditTrails
from registry_proxy.images.content import INDEX, MANIFEST, Content
from registry_proxy.images.environment_image import EnvironmentImage
from registry_proxy.images.reference import GenerationTag, Tag
from registry_proxy.nix.binary_cache import BinaryCache
from registry_proxy.repositories.closures import Closures
from registry_proxy.repositories.exhausted import Exhausted
from registry_proxy.repositories.generation_images import GenerationImages, GenerationIndex
from registry_proxy.repositories.generation_walks import GenerationWalks, Look
from registry_proxy.repositories.index_referrers import IndexReferrers, Listing, described

_MANIFEST_TYPES = (INDEX, MANIFEST)
_TRY_AGAIN_S = 30.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """The image of a tag, and how that was known."""

    image: EnvironmentImage
    resolution: Resolution


@dataclass(frozen=True, slots=True)
class TaggedIndex:
    """The index of a tag, and how that was known."""

    index: GenerationIndex
    resolution: Resolution


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """An answer, and how it was known that whoever asks may have it."""

    content: T
    resolution: Resolution


@dataclass(frozen=True, slots=True)
class AwayBlob:
    """A blob that only a binary cache has. `size` is bytes, as the cache said; `fetch` begins its download, or joins
    it, and raises the RegistryError that prevents it."""

    size: int
    fetch: Callable[[], Awaitable[Download]]


class EnvironmentImages:
    """Everything raised is a RegistryError."""

    def __init__(
        self,
        resolver: Resolver,
        images: GenerationImages,
        store: ContentStore,
        holdings: Holdings,
        downloads: Downloads,
        closures: Closures,
        index_referrers: IndexReferrers,
        caches: dict[str, BinaryCache],
        threads: anyio.CapacityLimiter,
    ) -> None:
        """`caches` are the binary caches by the URL that a NAR's source names."""
        self._resolver, self._images, self._closures = resolver, images, closures
        self._index_referrers = index_referrers
        self._store, self._holdings, self._downloads, self._caches = store, holdings, downloads, caches
        self._threads = threads
        self._walks = GenerationWalks(images, index_referrers)
        self._all_closures = Exhausted(_TRY_AGAIN_S)

    async def tagged(self, view: View, tag: Tag) -> TaggedImage:
        resolution, generation = await self._tagged(view, tag)
        return TaggedImage(await self._images.image(resolution.snapshot, generation), resolution)

    async def tagged_index(self, view: View, tag: Tag) -> TaggedIndex:
        resolution, generation = await self._tagged(view, tag)
        return TaggedIndex(await self._images.index(resolution.snapshot, generation), resolution)

    def fresh_index(self, view: View) -> TaggedIndex | None:
        """The index of the live tag, where nothing has to be waited for."""
        resolution = self._resolver.fresh(view)
        index = self._images.index_at_hand(resolution.snapshot) if resolution is not None else None
        return TaggedIndex(index, resolution) if index is not None and resolution is not None else None

    async def _tagged(self, view: View, tag: Tag) -> tuple[Resolution, Generation]:
        number = tag.number if isinstance(tag, GenerationTag) else None
        resolution = await (self._resolver.live(view) if number is None else self._resolver.pinned(view, number))
        snapshot = resolution.snapshot
        try:
            return resolution, snapshot.live() if number is None else snapshot.generation(number)
        except ManifestUnknown as error:
            raise _missing(resolution, error) from error

    async def tags(self, view: View) -> Shown[list[str]]:
        """In lexical order, as the specification wants them."""
        resolution = await self._resolver.live(view)
        generations = resolution.snapshot.generations
        moving = ["latest", "live"] if generations.live is not None else []
        return Shown(sorted([*moving, *map(str, generations.generations)]), resolution)

    async def manifest(self, view: View, digest: Digest) -> Shown[Content]:
        resolution, holding = await self._find(view, digest)
        if holding is None or holding.media_type not in _MANIFEST_TYPES:
            raise _missing(resolution, ManifestUnknown(f"no generation of {view} has a manifest {digest}"))
        return Shown(Content(holding.media_type, await self._stored(view, holding)), resolution)

    async def blob(self, view: View, digest: Digest) -> Shown[StoredBlob | AwayBlob]:
        resolution, holding = await self._find(view, digest)
        if holding is None:
            raise _missing(resolution, BlobUnknown(f"no generation of {view} has a blob {digest}"))
        return Shown(await self._held_blob(view, holding), resolution)

    async def _held_blob(self, view: View, holding: Holding) -> StoredBlob | AwayBlob:
        digest = holding.digest
        stored = await self._find_stored(digest)
        source = holding.source
        if stored is not None or source is None:
            return stored or await self._remade(view, digest)
        cache = self._caches.get(source.cache)
        if cache is None:
            raise NixCacheUnavailable(f"blob {digest} ({source.what}) comes from {source.cache}, no longer configured")
        size, begin = holding.size, partial(cache.nar, source.url)
        return AwayBlob(size, partial(self._downloads.join, digest, size, begin, what=source.what))

    async def referrers(self, view: View, digest: Digest, wanted: str | None) -> Shown[Listing]:
        """What refers to `digest`, of the artifact type `wanted` or of any; it may list others too.

        To a platform manifest its closure artifact, to an index what `index_referrers.py` makes; to artifacts nothing.
        """
        resolution, holding = await self._find_cheaply(view, digest)
        if holding is None and resolution.outcome is Outcome.STALE:
            raise _missing(resolution, ManifestUnknown(f"no generation of {view} has a manifest {digest}"))
        if holding is None or holding.subject is not None or holding.media_type not in _MANIFEST_TYPES:
            return Shown(Listing(), resolution)
        if holding.media_type == MANIFEST and wanted not in (None, ARTIFACT_TYPE):
            return Shown(Listing(), resolution)
        subject = Content(holding.media_type, await self._stored(view, holding))
        if holding.media_type == INDEX:
            resolution = await self._resolver.newest(view)
            return Shown(await self._referrers_of_index(resolution.snapshot, subject, wanted), resolution)
        closure = await self._closures.artifact(resolution.snapshot.environment, subject)
        return Shown(Listing((described(closure),)), resolution)

    async def _referrers_of_index(self, snapshot: Snapshot, index: Content, wanted: str | None) -> Listing:
        number = int(index.fields().text_members("annotations")[GENERATION])
        image = None
        if number in snapshot.generations.generations:
            image = await self._images.usable(snapshot, number)
        if image is None or image.index.digest != index.digest:
            return await self._index_referrers.recorded(snapshot.environment, index.digest)
        return await self._index_referrers.listing(image, AuditTrails(snapshot.generations.history), wanted)

    async def _find(self, view: View, digest: Digest) -> tuple[Resolution, Holding | None]:
        """What is known of `digest`, if need be after making everything that the environment's generations make."""
        resolution, found = await self._find_cheaply(view, digest)
        snapshot = resolution.snapshot
        if found is None and snapshot not in self._all_closures:
            found = await self._search_closures(snapshot, lambda: self._holding(snapshot, digest))
            if found is None:
                self._all_closures.add(snapshot)
        return resolution, found

    async def _find_cheaply(self, view: View, digest: Digest) -> tuple[Resolution, Holding | None]:
        """The same without asking binary caches, and the resolution whose snapshot was looked through.

        FloxHub has shown the environment to whoever asks within the last minute. An older answer than live will do at
        first; the digest may come from a replica that knows a newer one.
        """
        resolution = await self._resolver.proved(view)
        known = resolution.snapshot
        found = await self._walks.find(known, digest, lambda: self._holding(known, digest))
        if found is not None or resolution.outcome is Outcome.FRESH:
            return resolution, found
        resolution = await self._resolver.newest(view)
        newer = resolution.snapshot
        if newer.commit != known.commit:
            found = await self._walks.find(newer, digest, lambda: self._holding(newer, digest))
        return resolution, found

    async def _search_closures(self, snapshot: Snapshot, look: Look[T]) -> T | None:
        """What `look` finds after making what binary caches are asked for: closure artifacts and bills of materials."""
        for number in sorted(snapshot.generations.generations, reverse=True):
            image = await self._images.usable(snapshot, number)
            if image is None:
                continue
            for system, manifest in image.manifests.items():
                try:
                    await self._closures.artifact(snapshot.environment, manifest)
                    await self._index_referrers.bill(image, system)
                except (EnvironmentUnusable, ClosureUnavailable):
                    continue
                found = await look()
                if found is not None:
                    return found
        return None

    async def _stored(self, view: View, holding: Holding) -> bytes:
        data = await self._in_thread(lambda: self._store.read(holding.digest))
        if data is None:
            stored = await self._remade(view, holding.digest)
            data = await self._in_thread(stored.path.read_bytes)
        return data

    async def _remade(self, view: View, digest: Digest) -> StoredBlob:
        """Bytes that were here once and are not now: somebody emptied the store below us."""
        snapshot = (await self._resolver.proved(view)).snapshot
        self._images.forget(snapshot.environment)
        self._walks.forget(snapshot.environment)
        self._all_closures.forget(snapshot.environment)
        stored = await self._walks.find(snapshot, digest, lambda: self._find_stored(digest))
        stored = stored or await self._search_closures(snapshot, lambda: self._find_stored(digest))
        if stored is None:
            raise BlobUnknown(f"{digest} of {view} is gone from the content store, and no generation makes it")
        return stored

    async def _holding(self, snapshot: Snapshot, digest: Digest) -> Holding | None:
        held = self._holdings.at_hand(snapshot.environment)
        if held is None:
            held = await self._in_thread(lambda: self._holdings.of(snapshot.environment))
        return held.get(digest)

    async def _find_stored(self, digest: Digest) -> StoredBlob | None:
        return await self._in_thread(lambda: self._store.find(digest))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function, limiter=self._threads)


def _missing(resolution: Resolution, error: RegistryError) -> RegistryError:
    """`error`, if FloxHub has just said so; where it is silent it may have by now what it did not have then, and a
    client that is told "not found" asks elsewhere."""
    if resolution.outcome is not Outcome.STALE:
        return error
    return FloxHubUnavailable(f"{error}; that was {resolution.age_s:.0f} s ago, and FloxHub does not say what is new")

"""What refers to the index of an environment image, for people to read: lockfile, bills of materials, audit trail.

Belongs here: making them when they are asked for, and keeping them. Their bytes are in `images/`. The lockfile and the
trail need nothing but what FloxHub said; a bill needs the closure, and a closure may be had nowhere. Then there is no
bill: half of one would pass for a whole one. The rest is listed all the same, with the reason as a warning.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import anyio
import anyio.to_thread

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.system import System
from registry_proxy.content.holdings import Holding, Holdings
from registry_proxy.content.store import ContentStore
from registry_proxy.errors import ClosureUnavailable, EnvironmentUnusable, NixCacheUnavailable
from registry_proxy.flights import Flights
from registry_proxy.images import audit_trail
from registry_proxy.images.annotations import PLATFORM
from registry_proxy.images.artifact import EMPTY_CONFIG, Artifact, lockfile_artifact
from registry_proxy.images.audit_trail import AuditTrails
from registry_proxy.images.content import LOCKFILE, MANIFEST, SBOM, Content, Descriptor
from registry_proxy.images.environment_image import EnvironmentImage
from registry_proxy.repositories.closures import Closures

_WITHOUT_BILL = (ClosureUnavailable, NixCacheUnavailable, EnvironmentUnusable)
_MAX_OLD_TRAILS = 1_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """Descriptors of referrers; `warnings` are sentences about those that should be there and are not."""

    descriptors: tuple[Descriptor, ...] = ()
    warnings: tuple[str, ...] = ()


class IndexReferrers:
    """One bill of materials in the making per image and system."""

    def __init__(
        self,
        closures: Closures,
        store: ContentStore,
        holdings: Holdings,
        threads: anyio.CapacityLimiter,
        *,
        missing: Callable[[EnvironmentName, str], None],
    ) -> None:
        """`missing` is told, in a sentence, what an environment has no bill for and why."""
        self._closures, self._store, self._holdings = closures, store, holdings
        self._threads, self._missing = threads, missing
        self._flights = Flights[tuple[Digest, System], Content]("sbom")

    async def listing(self, image: EnvironmentImage, trails: AuditTrails, wanted: str | None) -> Listing:
        """Those of the artifact type `wanted`, or all. Who wants nothing but a bill gets the error that prevents it.

        Raises ClosureUnavailable, NixCacheUnavailable, EnvironmentUnusable, StorageFailed.
        """
        found, warnings = list[Descriptor](), list[str]()
        if wanted in (None, LOCKFILE):
            found.append(await self._in_thread(lambda: self._keep(image.environment, lockfile_artifact(image))))
        if wanted in (None, SBOM):
            for system in image.systems:
                try:
                    found.append(described(await self.bill(image, system)))
                except _WITHOUT_BILL as problem:
                    if wanted == SBOM:
                        raise
                    warnings.append(f"no bill of materials for {system}: {problem}")
        if wanted in (None, audit_trail.ARTIFACT_TYPE):
            found.append(await self._in_thread(lambda: self._keep(image.environment, trails.artifact(image))))
        for warning in warnings:
            self._missing(image.environment, warning)
        return Listing(tuple(found), tuple(warnings))

    async def recorded(self, environment: EnvironmentName, subject: Digest) -> Listing:
        """What was once made for an index that no generation has any more, since somebody rewrote it."""

        def find() -> Listing:
            held = [it for it in self._holdings.of(environment).values() if it.subject == subject]
            manifests = [self._store.read(it.digest) for it in held]
            return Listing(tuple(described(Content(MANIFEST, data)) for data in manifests if data is not None))

        return await self._in_thread(find)

    async def make(self, image: EnvironmentImage, trails: AuditTrails, digest: Digest) -> None:
        """Makes and keeps the lockfile's or a trail's artifact, of now or earlier, that has `digest` in it, if one has.

        Of trails no further back than the last `_MAX_OLD_TRAILS` entries of the history.
        """

        def find() -> None:
            for artifact in _cheap(image, trails):
                if digest in _digests(artifact):
                    self._keep(image.environment, artifact)
                    return

        await self._in_thread(find)

    async def digests(self, image: EnvironmentImage, trails: AuditTrails) -> list[Digest]:
        """Those that `make` would make something for."""
        return await self._in_thread(lambda: [it for artifact in _cheap(image, trails) for it in _digests(artifact)])

    async def bill(self, image: EnvironmentImage, system: System) -> Content:
        """The manifest of the bill for one of the image's systems. Raises as `listing` does."""
        known = await self._in_thread(lambda: self._known_bill(image, system))
        return known or await self._flights.join((image.index.digest, system), lambda: self._make_bill(image, system))

    async def aclose(self) -> None:
        await self._flights.aclose()

    def _known_bill(self, image: EnvironmentImage, system: System) -> Content | None:
        for holding in self._holdings.of(image.environment).values():
            if holding.subject == image.index.digest and holding.artifact_type == SBOM:
                data = self._store.read(holding.digest)
                bill = None if data is None else Content(MANIFEST, data)
                if bill and _platform_of(bill) == system.oci_platform:
                    return bill if self._store.find(_file_of(bill)) else None
        return None

    async def _make_bill(self, image: EnvironmentImage, system: System) -> Content:
        closure = await self._closures.document(image.environment, image.manifests[system])

        def make() -> Content:
            from registry_proxy.images.sbom import sbom_artifact  # its library is slow to import, and seldom needed

            artifact = sbom_artifact(image, closure)
            self._keep(image.environment, artifact)
            return artifact.manifest

        return await self._in_thread(make)

    def _keep(self, environment: EnvironmentName, artifact: Artifact) -> Descriptor:
        """Blocks. It is on disk, with its place in the repository, before anybody is told its digest."""
        contents = (EMPTY_CONFIG, artifact.file, artifact.manifest)
        for content in contents:
            self._store.keep(content.data)
        manifest = artifact.manifest
        if manifest.digest not in self._holdings.of(environment):
            holdings = [Holding(content.digest, content.media_type, len(content.data)) for content in contents[:2]]
            refers = Holding(
                manifest.digest,
                MANIFEST,
                len(manifest.data),
                subject=artifact.subject.digest,
                artifact_type=artifact.artifact_type,
            )
            self._holdings.add(environment, manifest.digest, [*holdings, refers])
        return artifact.descriptor

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function, limiter=self._threads)


def _cheap(image: EnvironmentImage, trails: AuditTrails) -> Iterator[Artifact]:
    """The artifacts that need no closure."""
    return chain([lockfile_artifact(image)], trails.artifacts(image, among_last=_MAX_OLD_TRAILS))


def _digests(artifact: Artifact) -> tuple[Digest, ...]:
    return (artifact.manifest.digest, artifact.file.digest, EMPTY_CONFIG.digest)


def described(manifest: Content) -> Descriptor:
    """The descriptor of an artifact that we made, as a list of referrers has it: with its type and its annotations."""
    fields = manifest.fields()
    annotations: Mapping[str, str] = fields.text_members("annotations")
    return manifest.descriptor(artifactType=fields.text("artifactType"), annotations=annotations)


def _platform_of(bill: Content) -> str | None:
    return bill.fields().text_members("annotations").get(PLATFORM)


def _file_of(artifact: Content) -> Digest:
    return Digest.parse(artifact.fields().objects("layers")[0].text("digest"))

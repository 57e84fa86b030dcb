"""Closure artifacts: found once for a platform manifest, then served from the content store.

Belongs here: from a platform manifest to the artifact that refers to it. Walking is in `nix/`, the bytes in `images/`.
"""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from flox_formats.closure import ARTIFACT_TYPE, MEDIA_TYPE, ClosureDocument
from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.errors import FormatError
from flox_formats.lockfile import Lockfile
from flox_formats.system import System
from registry_proxy.content.holdings import Holding, Holdings
from registry_proxy.content.store import ContentStore
from registry_proxy.errors import ClosureUnavailable, ManifestUnknown
from registry_proxy.flights import Flights
from registry_proxy.images.annotations import ENVIRONMENT, GENERATION, LOCKFILE_DIGEST
from registry_proxy.images.closure_artifact import ClosureArtifact, nar_descriptor
from registry_proxy.images.content import CONFIG, LOCKFILE, MANIFEST, MAX_MANIFEST_BYTES, Content
from registry_proxy.nix.closure_walk import Closure, ClosureWalk

T = TypeVar("T")


class Closures:
    """One walk in flight per platform manifest."""

    def __init__(self, walk: ClosureWalk, store: ContentStore, holdings: Holdings, threads: anyio.CapacityLimiter):
        self._walk, self._store, self._holdings, self._threads = walk, store, holdings, threads
        self._flights = Flights[Digest, Content]("closure")

    async def artifact(self, environment: EnvironmentName, subject: Content) -> Content:
        """The artifact's manifest. `subject` is a platform manifest of an environment image, and stored.

        Raises ClosureUnavailable, NixCacheUnavailable, EnvironmentUnusable.
        """
        known = await self._in_thread(lambda: self._known(environment, subject))
        return known or await self._flights.join(subject.digest, lambda: self._find(environment, subject))

    async def document(self, environment: EnvironmentName, subject: Content) -> ClosureDocument:
        """What the artifact lists. Raises as `artifact` does."""
        config = _config_of(await self.artifact(environment, subject))
        data = await self._in_thread(lambda: self._store.read(config))
        if data is None:
            raise ManifestUnknown(f"parts of the closure of {environment} are gone from the content store: ask again")
        return ClosureDocument.parse(data)

    async def aclose(self) -> None:
        await self._flights.aclose()

    def _known(self, environment: EnvironmentName, subject: Content) -> Content | None:
        for holding in self._holdings.of(environment).values():
            if holding.subject == subject.digest and holding.artifact_type == ARTIFACT_TYPE:
                data = self._store.read(holding.digest)
                artifact = None if data is None else Content(holding.media_type, data)
                return artifact if artifact and self._store.find(_config_of(artifact)) else None
        return None

    async def _find(self, environment: EnvironmentName, subject: Content) -> Content:
        annotations, lockfile, system = await self._in_thread(lambda: self._read_subject(subject))
        closure = await self._walk.closure(lockfile, system)
        try:
            artifact = ClosureArtifact(subject, annotations, Content(LOCKFILE, lockfile.data), closure.document)
        except FormatError as error:
            raise ClosureUnavailable(f"{environment}: {error}") from error
        await self._in_thread(lambda: self._keep(environment, artifact, closure))
        return artifact.manifest

    def _keep(self, environment: EnvironmentName, artifact: ClosureArtifact, closure: Closure) -> None:
        if len(artifact.manifest.data) > MAX_MANIFEST_BYTES:
            raise ClosureUnavailable(
                f"the closure of {environment} has {len(closure.document.paths)} paths, more than fit into a manifest "
                f"of {MAX_MANIFEST_BYTES} bytes"
            )
        self._store.keep(artifact.config.data)
        self._store.keep(artifact.manifest.data)
        manifest, config = artifact.manifest, artifact.config
        nars = [
            Holding(
                path.blob,
                str(nar_descriptor(path)["mediaType"]),
                path.blob_size,
                source=closure.sources[path.store_path],
            )
            for path in closure.document.paths
        ]
        self._holdings.add(
            environment,
            manifest.digest,
            [
                Holding(
                    manifest.digest,
                    MANIFEST,
                    len(manifest.data),
                    subject=artifact.subject.digest,
                    artifact_type=ARTIFACT_TYPE,
                ),
                Holding(config.digest, MEDIA_TYPE, len(config.data)),
                *nars,
            ],
        )

    def _read_subject(self, subject: Content) -> tuple[dict[str, str], Lockfile, System]:
        """What our own manifest says: its annotations, its lockfile, the system of its config."""
        manifest = subject.fields()
        annotations = manifest.text_members("annotations")
        lockfile = self._store.read(Digest.parse(annotations[LOCKFILE_DIGEST]))
        config = self._store.read(_config_of(subject))
        if lockfile is None or config is None:
            raise ManifestUnknown(f"parts of manifest {subject.digest} are gone from the content store: pull it again")
        system = System.of_architecture(Content(CONFIG, config).fields().text("architecture"))
        ours = {key: annotations[key] for key in (ENVIRONMENT, GENERATION, LOCKFILE_DIGEST)}
        return ours, Lockfile.parse(lockfile), system

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function, limiter=self._threads)


def _config_of(manifest: Content) -> Digest:
    return Digest.parse(manifest.fields().member("config").text("digest"))

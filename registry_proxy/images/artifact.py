"""An artifact of one file that refers to an environment image: its lockfile, a bill of materials, its audit trail.

Belongs here: the manifest around the file. What is in the file has a module of its own; the closure artifact, whose
layers are NARs, is in `closure_artifact.py`.
Shape: https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from flox_formats.digest import Digest
from registry_proxy.images.annotations import CREATED, ENVIRONMENT, GENERATION, LOCKFILE_DIGEST, TITLE, rfc3339
from registry_proxy.images.content import LOCKFILE, MANIFEST, Content, Descriptor
from registry_proxy.images.environment_image import EnvironmentImage

EMPTY_CONFIG = Content("application/vnd.oci.empty.v1+json", b"{}")
"""OCI's stand-in for the config of what is not a container image."""


class File(Protocol):
    """Content, or what becomes content when somebody wants its bytes."""

    @property
    def media_type(self) -> str: ...

    @property
    def digest(self) -> Digest: ...

    @property
    def data(self) -> bytes: ...

    def descriptor(self, **more: object) -> Descriptor: ...


@dataclass(frozen=True)
class Artifact:
    """`subject` is the index of an environment image. The annotations are on the descriptor that lists it, too."""

    subject: Content
    artifact_type: str
    file: File
    annotations: Mapping[str, str]

    @classmethod
    def about(
        cls,
        image: EnvironmentImage,
        artifact_type: str,
        file: File,
        *,
        title: str,
        created: int | None = None,
        more: Mapping[str, str] | None = None,
    ) -> "Artifact":
        """`title` is the file's name, under which clients write it. `created` is the generation's unless given."""
        shared = {key: image.annotations[key] for key in (ENVIRONMENT, GENERATION, LOCKFILE_DIGEST, CREATED)}
        own = {TITLE: title, **(more or {})}
        if created is not None:
            own[CREATED] = rfc3339(created)
        return cls(image.index, artifact_type, file, {**shared, **own})

    @cached_property
    def manifest(self) -> Content:
        return Content.of_json(
            MANIFEST,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": self.artifact_type,
                "subject": self.subject.descriptor(),
                "config": EMPTY_CONFIG.descriptor(),
                "layers": [self.file.descriptor(annotations={TITLE: self.annotations[TITLE]})],
                "annotations": self.annotations,
            },
        )

    @property
    def descriptor(self) -> Descriptor:
        """As the referrers of `subject` list it."""
        return self.manifest.descriptor(artifactType=self.artifact_type, annotations=self.annotations)


def lockfile_artifact(image: EnvironmentImage) -> Artifact:
    """The lockfile, for those who look for it by its type and not by the digest in an annotation."""
    return Artifact.about(image, LOCKFILE, image.lockfile_content, title="manifest.lock")

"""Content: bytes with the media type and digest by which OCI knows them.

Belongs here: the value, its descriptor, and the media types that this registry makes.
Descriptors: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from flox_formats.digest import Digest
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, canonical_json, read_object

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
LOCKFILE = "application/vnd.flox.lockfile.v1+json"
SBOM = "application/vnd.cyclonedx+json"

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""What every registry must take, and so what any client may read of a manifest (distribution specification)."""

Descriptor = dict[str, object]


@dataclass(frozen=True)
class Content:
    """Bytes that are never made twice: `digest` is of exactly `data`."""

    media_type: str
    data: bytes

    @classmethod
    def of_json(cls, media_type: str, document: Mapping[str, object]) -> "Content":
        return cls(media_type, canonical_json(document))

    @cached_property
    def digest(self) -> Digest:
        return Digest.of(self.data)

    def descriptor(self, **more: object) -> Descriptor:
        """`more` are further members, such as platform, artifactType or annotations."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": len(self.data), **more}

    def fields(self) -> Fields:
        """The members of a manifest or a config, ours and so right; of anything else FormatError is raised."""
        document = read_object(self.data, what="manifest", max_bytes=MAX_MANIFEST_BYTES, error=FormatError)
        return Fields(document, where="manifest", error=FormatError)

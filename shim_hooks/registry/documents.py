"""The documents of a registry that a node needs: the index of a generation, its referrers, the closure artifact.

Belongs here: reading them. Does not: fetching them, or knowing whether their bytes are the right ones.
Source: https://github.com/opencontainers/image-spec/blob/main/image-index.md and manifest.md; design 4.2, 4.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from flox_formats.closure import ARTIFACT_TYPE, MEDIA_TYPE
from flox_formats.digest import Digest, DigestInvalid
from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, read_object

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LOCKFILE_TYPE = "application/vnd.flox.lockfile.v1+json"
MAX_BYTES = 4 * 1024 * 1024
"""What the specification lets a registry refuse beyond; ours keeps to it (design, section 5)."""


class RegistryDocumentInvalid(FormatError):
    """Not the document that belongs where it was found."""


@dataclass(frozen=True, slots=True)
class BlobDescriptor:
    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class EnvironmentIndex:
    """The image of one generation. `manifests` by OCI architecture, Linux only."""

    environment: EnvironmentName
    generation: int
    lockfile: Digest
    manifests: Mapping[str, Digest]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        fields = _document(data, "environment image", INDEX_TYPE)
        annotations = fields.member("annotations")
        try:
            environment = EnvironmentName.parse(annotations.text("dev.flox.environment"))
            lockfile = Digest.parse(annotations.text("dev.flox.lockfile"))
        except (EnvironmentRefInvalid, DigestInvalid) as problem:
            raise RegistryDocumentInvalid(f"environment image: annotations: {problem}") from problem
        number = annotations.text("dev.flox.generation")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise annotations.refuse("dev.flox.generation", f"is no generation: {number[:50]!r}")
        manifests: dict[str, Digest] = {}
        for manifest in fields.objects("manifests"):
            platform = manifest.member("platform")
            if platform.text_or_none("os") == "linux":
                manifests.setdefault(platform.text("architecture"), _descriptor(manifest).digest)
        return cls(environment, int(number), lockfile, manifests)


def find_closure_artifact(referrers: bytes) -> BlobDescriptor | None:
    """The descriptor of the first closure artifact in a referrers index; a registry need not have filtered it."""
    for manifest in _document(referrers, "referrers", INDEX_TYPE).objects("manifests"):
        if manifest.text_or_none("artifactType") == ARTIFACT_TYPE:
            return _descriptor(manifest)
    return None


@dataclass(frozen=True, slots=True)
class ClosureArtifactManifest:
    """`document` describes the closure document, `lockfile` the lockfile. The NARs are in the document, too."""

    subject: Digest
    document: BlobDescriptor
    lockfile: BlobDescriptor

    @classmethod
    def parse(cls, data: bytes) -> Self:
        fields = _document(data, "closure artifact", MANIFEST_TYPE)
        subject = _descriptor(fields.member("subject")).digest
        document = _descriptor(fields.member("config"))
        layers = fields.objects("layers")
        if document.media_type != MEDIA_TYPE:
            raise fields.refuse("config", f"is of type {document.media_type[:100]!r}, want {MEDIA_TYPE}")
        lockfile = _descriptor(layers[0]) if layers else None
        if lockfile is None or lockfile.media_type != LOCKFILE_TYPE:
            raise fields.refuse("layers", f"do not begin with one of type {LOCKFILE_TYPE}")
        return cls(subject, document, lockfile)


def _document(data: bytes, what: str, media_type: str) -> Fields:
    document = read_object(data, what=what, max_bytes=MAX_BYTES, error=RegistryDocumentInvalid)
    fields = Fields(document, where=what, error=RegistryDocumentInvalid)
    found = fields.text("mediaType")
    if found != media_type:
        raise fields.refuse("mediaType", f"is {found[:100]!r}, want {media_type}")
    return fields


def _descriptor(fields: Fields) -> BlobDescriptor:
    try:
        digest = Digest.parse(fields.text("digest"))
    except DigestInvalid as problem:
        raise fields.refuse("digest", str(problem)) from problem
    return BlobDescriptor(fields.text("mediaType"), digest, fields.integer("size"))

"""The closure artifact: a referrer of a platform manifest that lists a closure and carries its NARs (design 4.3).

Belongs here: which bytes. How the closure was found is in `nix/`.
"""

from dataclasses import dataclass
from functools import cached_property

from flox_formats.closure import ARTIFACT_TYPE, MEDIA_TYPE, ClosureDocument, ClosurePath
from flox_formats.narinfo import Compression
from registry_proxy.images.content import MANIFEST, Content, Descriptor

_NAR = "application/vnd.nix.nar"
_NAR_TYPES = {
    Compression.NONE: _NAR,
    Compression.XZ: f"{_NAR}+xz",
    Compression.ZSTD: f"{_NAR}+zstd",
    Compression.BZIP2: f"{_NAR}+bzip2",
    Compression.GZIP: f"{_NAR}+gzip",
}


@dataclass(frozen=True)
class ClosureArtifact:
    """`subject` is the platform manifest, `lockfile` the blob that the image has already."""

    subject: Content
    annotations: dict[str, str]
    lockfile: Content
    document: ClosureDocument

    @cached_property
    def config(self) -> Content:
        return Content(MEDIA_TYPE, self.document.to_bytes())

    @cached_property
    def manifest(self) -> Content:
        nars = {path.blob: path for path in self.document.paths}
        return Content.of_json(
            MANIFEST,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": ARTIFACT_TYPE,
                "subject": self.subject.descriptor(),
                "config": self.config.descriptor(),
                "layers": [self.lockfile.descriptor(), *map(nar_descriptor, nars.values())],
                "annotations": self.annotations,
            },
        )


def nar_descriptor(path: ClosurePath) -> Descriptor:
    """A NAR as it lies in its cache: one blob, once, however many store paths share it."""
    return {"mediaType": _NAR_TYPES[path.compression], "digest": str(path.blob), "size": path.blob_size}

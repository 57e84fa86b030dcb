"""The repository `flox/empty`: one image, whatever the tag. Nothing is asked of anyone."""

from flox_formats.digest import Digest
from registry_proxy.errors import BlobUnknown, ManifestUnknown
from registry_proxy.images.content import Content
from registry_proxy.images.empty_image import EmptyImage

TAGS = ("latest",)


class EmptyImages:
    """Serves one image from memory."""

    def __init__(self) -> None:
        image = EmptyImage()
        self._index = image.index
        self._manifests = {content.digest: content for content in image.manifest_contents}
        self._blobs = {content.digest: content for content in image.blob_contents}

    def has(self, digest: Digest) -> bool:
        return digest in self._manifests or digest in self._blobs

    def manifest(self, reference: Digest | str) -> Content:
        if isinstance(reference, str):
            return self._index
        found = self._manifests.get(reference)
        if found is None:
            raise ManifestUnknown(f"flox/empty has no manifest {reference}: it has one image, {self._index.digest}")
        return found

    def blob(self, digest: Digest) -> Content:
        found = self._blobs.get(digest)
        if found is None:
            raise BlobUnknown(f"flox/empty has no blob {digest}")
        return found

"""What every image here is made of: a manifest for each system, over one layer, and an index over the manifests.

Belongs here: the parts that do not depend on what an image stands for. Media types and descriptors are in `content.py`.
"""

from collections.abc import Mapping

from flox_formats.system import System
from registry_proxy.images.content import INDEX, MANIFEST, Content
from registry_proxy.images.empty_layer import empty_layer

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What a container finds its programs by, before an environment puts its own folder in front."""


def image_manifest(config: Content, annotations: Mapping[str, str]) -> Content:
    return Content.of_json(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [empty_layer().descriptor()],
            "annotations": annotations,
        },
    )


def image_index(manifests: Mapping[System, Content], annotations: Mapping[str, str]) -> Content:
    """The manifests are sorted by architecture."""
    ordered = sorted(manifests.items(), key=lambda item: item[0].oci_architecture)
    return Content.of_json(
        INDEX,
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                manifest.descriptor(platform={"architecture": system.oci_architecture, "os": "linux"})
                for system, manifest in ordered
            ],
            "annotations": annotations,
        },
    )

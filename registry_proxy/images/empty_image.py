"""The generic empty image, `flox/empty:<any tag>`: no environment inside; the pod's annotation names it."""

from functools import cached_property

from flox_formats.system import System
from registry_proxy.images.content import CONFIG, Content
from registry_proxy.images.empty_layer import empty_layer, layer_diff_id
from registry_proxy.images.image import PATH, image_index, image_manifest

_ANNOTATIONS = {"org.opencontainers.image.title": "flox/empty"}
_EPOCH = "1970-01-01T00:00:00Z"


class EmptyImage:
    """The same for ever; each part is computed when it is first asked for."""

    @cached_property
    def configs(self) -> dict[System, Content]:
        return {system: _config(system) for system in System}

    @cached_property
    def manifests(self) -> dict[System, Content]:
        return {system: image_manifest(config, _ANNOTATIONS) for system, config in self.configs.items()}

    @cached_property
    def index(self) -> Content:
        return image_index(self.manifests, _ANNOTATIONS)

    @cached_property
    def manifest_contents(self) -> tuple[Content, ...]:
        return (self.index, *self.manifests.values())

    @cached_property
    def blob_contents(self) -> tuple[Content, ...]:
        return (empty_layer(), *self.configs.values())


def _config(system: System) -> Content:
    return Content.of_json(
        CONFIG,
        {
            "architecture": system.oci_architecture,
            "os": "linux",
            "created": _EPOCH,
            "config": {"Env": [f"PATH={PATH}"]},
            "rootfs": {"type": "layers", "diff_ids": [layer_diff_id()]},
        },
    )

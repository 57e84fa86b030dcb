"""The image that stands for one generation of one environment (design 4.2).

Belongs here: which bytes. What goes in is FloxHub's base URL, the environment, the generation's number and time, the
lockfile's digest and a few of its parts, and the format of this module; nothing else may.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generation
from flox_formats.lockfile import Lockfile
from flox_formats.manifest import ContainerizeConfig
from flox_formats.system import System
from registry_proxy.images.annotations import (
    CREATED,
    ENVIRONMENT,
    GENERATION,
    LOCKFILE_DIGEST,
    SOURCE,
    TITLE,
    VERSION,
    rfc3339,
)
from registry_proxy.images.content import CONFIG, LOCKFILE, Content
from registry_proxy.images.empty_layer import empty_layer, layer_diff_id
from registry_proxy.images.image import PATH, image_index, image_manifest

_FLOX_USER_ID = 10000
_NUMERIC_USER = re.compile(r"[0-9]+(:[0-9]+)?")


@dataclass(frozen=True)
class EnvironmentImage:
    """Lazy: making one is free, each part is computed when it is first asked for.

    `environment` is spelled as on FloxHub, `page` is its web page there.
    """

    environment: EnvironmentName
    page: str
    generation: Generation
    lockfile: Lockfile

    @cached_property
    def systems(self) -> tuple[System, ...]:
        """At least one, or no image can be made: whoever constructs this has checked."""
        return self.lockfile.linux_systems()

    @cached_property
    def lockfile_content(self) -> Content:
        return Content(LOCKFILE, self.lockfile.data)

    @cached_property
    def configs(self) -> dict[System, Content]:
        return {system: Content.of_json(CONFIG, self._config(system)) for system in self.systems}

    @cached_property
    def manifests(self) -> dict[System, Content]:
        return {system: image_manifest(config, self.annotations) for system, config in self.configs.items()}

    @cached_property
    def index(self) -> Content:
        return image_index(self.manifests, self.annotations)

    @cached_property
    def manifest_contents(self) -> tuple[Content, ...]:
        return (self.index, *self.manifests.values())

    @cached_property
    def blob_contents(self) -> tuple[Content, ...]:
        return (empty_layer(), *self.configs.values(), self.lockfile_content)

    @cached_property
    def annotations(self) -> dict[str, str]:
        return {
            ENVIRONMENT: str(self.environment),
            GENERATION: str(self.generation.number),
            LOCKFILE_DIGEST: str(self.lockfile.digest),
            CREATED: rfc3339(self.generation.created),
            TITLE: str(self.environment),
            VERSION: str(self.generation.number),
            SOURCE: self.page,
        }

    def _config(self, system: System) -> dict[str, object]:
        return {
            "architecture": system.oci_architecture,
            "os": "linux",
            "created": rfc3339(self.generation.created),
            "config": {"Env": self._env, **_process(self.lockfile.manifest.containerize)},
            "rootfs": {"type": "layers", "diff_ids": [layer_diff_id()]},
        }

    @cached_property
    def _env(self) -> list[str]:
        """How the generation reaches the node: containerd copies an image's Env into the bundle."""
        return [
            f"PATH={PATH}",
            f"FLOXBRIDGE_ENVIRONMENT={self.environment}",
            f"FLOXBRIDGE_GENERATION={self.generation.number}",
            f"FLOXBRIDGE_LOCKFILE={self.lockfile.digest}",
        ]


def _process(wish: ContainerizeConfig) -> Mapping[str, object]:
    """What the manifest's `containerize.config` asks for (FH §8.7); what it leaves out is left out."""
    members: dict[str, object] = {
        "Cmd": list(wish.cmd) if wish.cmd is not None else None,
        "User": _user(wish.user) if wish.user else None,
        "WorkingDir": wish.working_dir,
        "ExposedPorts": {port: {} for port in wish.exposed_ports},
        "Volumes": {volume: {} for volume in wish.volumes},
        "Labels": dict(wish.labels),
        "StopSignal": wish.stop_signal,
    }
    return {name: value for name, value in members.items() if value}


def _user(user: str) -> str:
    """Ids as they are, root by name; any other name becomes the id that `flox containerize` would give it.

    The layer is the same for all images, so its passwd cannot know the name, and runtimes refuse a name that it lacks.
    """
    if _NUMERIC_USER.fullmatch(user) or user.partition(":")[0] == "root":
        return user
    return f"{_FLOX_USER_ID}:{_FLOX_USER_ID}"

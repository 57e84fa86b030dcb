"""An environment that is wanted, and one that is on the node.

Belongs here: the two values that containers and commands hand to `realise.py` and get from it.
"""

from dataclasses import dataclass
from enum import Enum

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.lockfile import LockedActivation
from flox_formats.store_path import StorePath
from shim_hooks.environment.contents import DevelopmentContents, EnvironmentContents
from shim_hooks.environment.mode import Mode
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.store.store_folders import StoreFolders


class Shown(Enum):
    """To whom the registry shows an environment, as far as is known: what is not known to be public is private."""

    TO_ALL = "to all"
    TO_ITS_PODS = "to its pods"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`generation` None is the live one, asked for now. `lockfile` is known when an image named the generation.

    `token` is the pod's own, for a private environment. `shown` is for who was let in before; None is asked about. A
    process that joins a container is let in to what is shown to its pods, which is all that lies here of it. `ahead` is
    for who fetches it before a container asks: containers that wait come first.
    """

    environment: EnvironmentName
    generation: int | None
    lockfile: Digest | None
    mode: Mode
    token: FloxHubToken | None = None
    shown: Shown | None = None
    ahead: bool = False

    @property
    def ref(self) -> EnvironmentRef:
        return EnvironmentRef(self.environment, self.generation)


@dataclass(frozen=True, slots=True)
class Realised:
    """`env_path` is what FLOX_ENV says, `folders` are mounted at /nix/store, `paths` is all that must stay there.

    `development` is there in mode dev. `fetched_bytes` came off the network for it, compressed; containers that waited
    together all see the same number.
    """

    environment: EnvironmentName
    generation: int
    lockfile: LockedActivation
    env_path: StorePath
    folders: StoreFolders
    fetched_bytes: int
    paths: tuple[StorePath, ...]
    contents: EnvironmentContents
    development: DevelopmentContents | None

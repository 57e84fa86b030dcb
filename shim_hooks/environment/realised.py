"""An environment that is wanted, and one that is on the node.

Belongs here: the two values that containers and commands hand to `realise.py` and get from it.
"""

from dataclasses import dataclass
from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.lockfile import LockedActivation
from flox_formats.store_path import StorePath
from shim_hooks.environment.contents import DevelopmentContents, EnvironmentContents
from shim_hooks.environment.mode import Mode
from shim_hooks.floxhub_token import FloxHubToken


@dataclass(frozen=True, slots=True)
class Wanted:
    """`generation` None is the live one, asked for now. `lockfile` is known when an image named the generation.

    `token` is the pod's own, for a private environment. `access_granted` is for who was let in before: a process that
    joins a container. `ahead` is for who fetches it before a container asks: containers that wait come first.
    """

    environment: EnvironmentName
    generation: int | None
    lockfile: Digest | None
    mode: Mode
    token: FloxHubToken | None = None
    access_granted: bool = False
    ahead: bool = False

    @property
    def ref(self) -> EnvironmentRef:
        return EnvironmentRef(self.environment, self.generation)


@dataclass(frozen=True, slots=True)
class Realised:
    """`env_path` is what FLOX_ENV says, `store_dir` what is mounted at /nix/store, `paths` all that must stay there.

    `development` is there in mode dev. `fetched_bytes` came off the network for it, compressed; containers that waited
    together all see the same number.
    """

    environment: EnvironmentName
    generation: int
    lockfile: LockedActivation
    env_path: StorePath
    store_dir: Path
    fetched_bytes: int
    paths: tuple[StorePath, ...]
    contents: EnvironmentContents
    development: DevelopmentContents | None

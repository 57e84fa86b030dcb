"""An agent with everything real but the registry: a small Realiser that has its environments at hand."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import Lockfile
from flox_formats.store_path import StorePath
from shim_hooks.agent import Agent
from shim_hooks.environment.activation_files import RECORD, activation_files
from shim_hooks.environment.contents import DevelopmentContents, EnvironmentContents
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Realised, Shown, Wanted
from shim_hooks.errors import RegistryRefused
from shim_hooks.log import Log
from shim_hooks.store.container_stores import ContainerStores
from shim_hooks.store.leases import Leases
from shim_hooks.store.store_folders import StoreFolders

WEB = EnvironmentName.parse("acme/web")


def lockfile(**manifest: object) -> Lockfile:
    document = {"lockfile-version": 1, "manifest": {"version": 1, **manifest}, "packages": []}
    return Lockfile.parse(json.dumps(document).encode())


def store_path(name: str) -> StorePath:
    return StorePath.content_addressed(name, Digest.of(name.encode()))


@dataclass
class Environments:
    """Realises what it was given, as the real one does: complete in the store, or a NodeError that says why not.

    The last generation of an environment is the live one. While `held` is set, nothing comes.
    """

    store_dir: Path
    held: asyncio.Event | None = None
    own: Path | None = None
    """Where that lies which not everybody may see; nowhere else then."""

    def __post_init__(self) -> None:
        self.wishes = list[Wanted]()
        self.given = dict[tuple[EnvironmentName, Digest | None], Realised]()
        self._known = dict[EnvironmentName, list[tuple[Lockfile, StorePath]]]()
        self.store_dir.mkdir(parents=True, exist_ok=True)

    def add(self, environment: EnvironmentName, lock: Lockfile, files: Mapping[str, str] | None = None) -> StorePath:
        generations = self._known.setdefault(environment, [])
        path = store_path(f"environment-{environment.name}-{len(generations) + 1}")
        root = self.folders.own / path.base_name
        (root / "bin").mkdir(parents=True)
        scripts = activation_files(environment, lock)
        for name, content in {**scripts, **{name: text.encode() for name, text in (files or {}).items()}}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
            (root / name).chmod(0o755)
        (root / RECORD).chmod(0o700)
        generations.append((lock, path))
        return path

    @property
    def folders(self) -> StoreFolders:
        return StoreFolders((self.store_dir,) if self.own is None else (self.own, self.store_dir))

    async def pin_down(self, wanted: Wanted, *, deadline_s: float) -> Wanted:
        """Also while `held` is set."""
        self.wishes.append(wanted)
        realised = self._realised(wanted)
        return replace(wanted, generation=realised.generation, lockfile=realised.lockfile.digest, shown=Shown.TO_ALL)

    def pin_down_at_once(self, wanted: Wanted) -> Wanted | None:
        return None  # asked in full, each time

    def at_hand(self, wanted: Wanted) -> Realised | None:
        """What was realised before, of whoever's; None without a lockfile, as of the real one."""
        return self.given.get((wanted.environment, wanted.lockfile))

    def is_here(self, realised: Realised, mode: Mode) -> bool:
        return self.folders.has(realised.env_path)

    @asynccontextmanager
    async def holding(self, wanted: Wanted, *, deadline_s: float) -> AsyncIterator[Realised]:
        yield await self.realise(wanted, deadline_s=deadline_s)

    async def realise(self, wanted: Wanted, *, deadline_s: float) -> Realised:
        self.wishes.append(wanted)
        if self.held is not None:
            await self.held.wait()
        realised = self._realised(wanted)
        self.given[wanted.environment, realised.lockfile.digest] = realised
        return realised

    def _realised(self, wanted: Wanted) -> Realised:
        generations = self._known.get(wanted.environment, [])
        number = wanted.generation or len(generations)
        if not 0 < number <= len(generations):
            raise RegistryRefused(f"{wanted.environment} has no generation {number}")
        lock, path = generations[number - 1]
        if wanted.lockfile not in (None, lock.digest):
            raise RegistryRefused(f"generation {number} of {wanted.environment} was replaced by another one")
        tree = self.folders.tree
        return Realised(
            environment=wanted.environment,
            generation=number,
            lockfile=lock.activation,
            env_path=path,
            folders=self.folders,
            fetched_bytes=0,
            paths=(path,),
            contents=EnvironmentContents.look(tree, path, (path,)),
            development=DevelopmentContents.look(tree, path) if wanted.mode is Mode.DEV else None,
        )


class Lines(io.StringIO):
    """A log that tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


class AgentRig:
    """The agent, its environments and leases, and one bundle after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environments = Environments(folder / "state" / "store")
        self.leases = Leases(folder / "state" / "leases")
        self._log = Lines()
        self.mutable = ContainerStores(folder / "state" / "mutable")
        self.agent = Agent(self.environments, self.leases, self.mutable, Log(self._log))

    def restarted(self) -> "AgentRig":
        """The same node with an agent that knows nothing yet."""
        again = AgentRig(self.folder)
        again.agent = Agent(self.environments, again.leases, again.mutable, Log(again._log))
        return again

    def bundle(
        self,
        name: str = "c1",
        *,
        annotations: Mapping[str, str] | None = None,
        env: list[str] | None = None,
        **members: object,
    ) -> Path:
        bundle = self.folder / "bundles" / name
        (bundle / "rootfs").mkdir(parents=True)
        document = {
            "ociVersion": "1.0.2",
            "process": {"args": ["web"], "cwd": "/", "env": ["PATH=/bin"] if env is None else env},
            "root": {"path": "rootfs"},
            "annotations": dict(annotations or {}),
            "mounts": [],
            **members,
        }
        (bundle / "config.json").write_text(json.dumps(document))
        return bundle

    async def event(self, name: str, count: int) -> dict[str, object]:
        """The `count`th event called `name`, waiting for it."""
        async with asyncio.timeout(30):
            while len(found := [line for line in self.logged() if line["event"] == name]) < count:
                self._log.written.clear()
                await self._log.written.wait()
        return found[count - 1]

    def logged(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._log.getvalue().splitlines()]


def config(bundle: Path) -> dict[str, object]:
    document = json.loads((bundle / "config.json").read_text())
    assert isinstance(document, dict)
    return document


def variables(bundle: Path) -> dict[str, str]:
    process = config(bundle)["process"]
    assert isinstance(process, dict)
    return dict(entry.split("=", 1) for entry in process["env"])


def image(lock: Lockfile, generation: int = 1) -> list[str]:
    """The variables of an environment image of acme/web."""
    return [
        "PATH=/bin",
        f"FLOXBRIDGE_ENVIRONMENT={WEB}",
        f"FLOXBRIDGE_GENERATION={generation}",
        f"FLOXBRIDGE_LOCKFILE={lock.digest}",
    ]

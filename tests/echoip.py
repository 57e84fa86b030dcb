"""A running registry with limeytexan/echoip, the demo's environment, for tests that bring a client of their own.

Its generations are pushed and switched by command line, its packages are real, and so is everything between.
"""

import json
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flox_formats.closure import ARTIFACT_TYPE
from flox_formats.narinfo import NarInfo
from floxbridge_demo.busybox import BusyboxMissing, static_busybox
from floxbridge_demo.generation import Generation
from floxbridge_demo.installation import Hub, Registry, running_registry
from floxbridge_demo.nix_cache import NixCache
from floxbridge_demo.packages import Package, Packages
from floxbridge_demo.workplace import Workplace, own_workplace
from tests.conftest import cannot_run

ENVIRONMENT = "limeytexan/echoip"
TOKEN = "flox_pat_alice"
"""Opens what is private of the owner `vault`."""


@dataclass(frozen=True, slots=True)
class EchoIp:
    """`ENVIRONMENT` has one generation, with the package `echoip`. A test that pushes takes a new environment."""

    workplace: Workplace
    cache: NixCache
    packages: Packages
    hub: Hub
    registry: Registry

    @property
    def host(self) -> str:
        """The registry as image references have it."""
        return self.registry.url.removeprefix("http://")

    def index(self, environment: str, tag: str = "live") -> dict[str, Any]:
        return self._get(environment, f"manifests/{tag}")

    def closure_of(self, manifest: str) -> str:
        """Digest of the closure artifact that refers to this platform manifest, which exists."""
        listed = self._get(ENVIRONMENT, f"referrers/{manifest}?artifactType={ARTIFACT_TYPE}")
        return str(listed["manifests"][0]["digest"])

    def _get(self, environment: str, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.registry.url}/v2/flox/empty/{environment}/{path}", timeout=60) as answer:
            document: dict[str, Any] = json.load(answer)
            return document

    def file_size(self, package: Package) -> int:
        """Bytes of the package's NAR as the cache has it, compressed."""
        size = NarInfo.parse((self.cache.folder / f"{package.path.hash}.narinfo").read_bytes()).file_size
        assert size is not None
        return size

    def new_environment(self, *packages: Package) -> str:
        """One of which nobody has heard, with these packages in its first generation."""
        environment = f"limeytexan/e{secrets.token_hex(4)}"
        self.push(environment, *packages)
        return environment

    def new_private_environment(self, *packages: Package) -> str:
        """Another one, that `TOKEN` opens."""
        environment = f"vault/e{secrets.token_hex(4)}"
        wanted = Generation(self.packages.system, packages, packages[0].name)
        self.hub.push(environment, wanted.write(self.workplace.path("pushed", secrets.token_hex(4))), private=True)
        return environment

    def push(self, environment: str, *packages: Package, **variables: str) -> None:
        """A new generation, live at once; the registry may not know for 0.2 s, see `Registry.wait_for_another`."""
        wanted = Generation(self.packages.system, packages, packages[0].name, variables)
        self.hub.push(environment, wanted.write(self.workplace.path("pushed", secrets.token_hex(4))))


@contextmanager
def running_echoip(parent: Path) -> Iterator[EchoIp]:
    try:
        static_busybox()
    except BusyboxMissing as error:
        cannot_run(str(error))
    with own_workplace(parent) as workplace:
        cache = NixCache.make(workplace.path("cache"))
        packages = Packages.build(cache, workplace.path("scratch"))
        hub = Hub(workplace)
        tokens = workplace.path("tokens")
        tokens.touch(mode=0o600)
        tokens.write_text(f"{TOKEN} alice vault/*\nflox_pat_bob bob other/*\n")
        more = ("--hub-tokens-file", str(tokens))
        with running_registry(workplace, hub, cache, resolve_ttl_s=0.2, more=more) as registry:
            running = EchoIp(workplace, cache, packages, hub, registry)
            running.push(ENVIRONMENT, packages.echoip, ECHOIP_NOTE="first")
            yield running

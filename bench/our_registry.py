"""What is measured: `floxbridge serve` as a process of its own, with a hub, on a free port.

Belongs here: which flags it gets, and the environments that a benchmark asks it for. The hub and the commands are the
demo's: everything goes by command line, as an operator has it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bench.benchmark import BenchmarkFailed
from flox_formats.closure import ARTIFACT_TYPE, ClosureDocument
from flox_formats.signature import PublicKey
from flox_formats.store_path import StorePath
from flox_formats.system import System
from floxbridge_demo.generation import Generation
from floxbridge_demo.installation import Hub, program_path
from floxbridge_demo.packages import Package
from floxbridge_demo.program import Program
from floxbridge_demo.workplace import Workplace

ENVIRONMENT = "acme/web"
_START_S = 30.0
_LIVE_S = 30.0
_ANSWER_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class OurRegistry:
    program: Program
    url: str

    def repository(self, environment: str = ENVIRONMENT) -> str:
        """The URL below which its manifests and blobs are."""
        return f"{self.url}/v2/flox/empty/{environment}"

    def image_variables(self) -> list[str]:
        """What containerd copies from the live image's configuration into a bundle. Raises BenchmarkFailed."""
        with httpx2.Client(base_url=f"{self.repository()}/", timeout=_ANSWER_S) as http:
            index = http.get("manifests/live").raise_for_status().json()
            manifest = http.get(f"manifests/{index['manifests'][0]['digest']}").raise_for_status().json()
            config = http.get(f"blobs/{manifest['config']['digest']}").raise_for_status().json()
        variables = [entry for entry in config["config"]["Env"] if entry.startswith("FLOXBRIDGE_")]
        if not variables:
            raise BenchmarkFailed(f"the image of {ENVIRONMENT} names no environment")
        return variables

    def closure(self) -> ClosureDocument:
        """The live generation's, asked for as a node asks. Raises BenchmarkFailed."""
        with httpx2.Client(base_url=f"{self.repository()}/", timeout=_ANSWER_S) as http:
            platform = http.get("manifests/live").raise_for_status().json()["manifests"][0]["digest"]
            asked = http.get(f"referrers/{platform}", params={"artifactType": ARTIFACT_TYPE}).raise_for_status().json()
            if not asked["manifests"]:
                raise BenchmarkFailed(f"nothing refers to {platform}, the manifest of {ENVIRONMENT}")
            artifact = http.get(f"manifests/{asked['manifests'][0]['digest']}").raise_for_status().json()
            document = http.get(f"blobs/{artifact['config']['digest']}").raise_for_status().content
        return ClosureDocument.parse(document)

    def wait_for(self, generation: int) -> None:
        """Until it says that this is the live one. Raises BenchmarkFailed."""
        end = time.monotonic() + _LIVE_S
        while True:
            index = httpx2.get(f"{self.repository()}/manifests/live").raise_for_status().json()
            if index["annotations"]["dev.flox.generation"] == str(generation):
                return
            if time.monotonic() > end:
                raise BenchmarkFailed(f"generation {generation} is not live after {_LIVE_S:g} s")
            time.sleep(_POLL_S)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the registry gets things: the hub, and a binary cache with the key that vouches for it."""

    hub: Hub
    cache_url: str
    key: PublicKey


@contextmanager
def running_our_registry(workplace: Workplace, upstream: Upstream, *, state: str = "registry") -> Iterator[OurRegistry]:
    """With a hub inside it, and the default settings. `state` names its folder. Raises ProgramFailed."""
    flags = ["--hub-dir", str(upstream.hub.root), "--nix-cache", upstream.cache_url]
    with running_with(workplace, *flags, "--trusted-key", str(upstream.key), state=state) as registry:
        yield registry


@contextmanager
def running_with(workplace: Workplace, *flags: str, state: str) -> Iterator[OurRegistry]:
    """With these flags, besides where it listens and keeps its state. Raises ProgramFailed."""
    command = [program_path("floxbridge"), "serve", "--listen", "127.0.0.1:0", "--drain-grace-s", "0"]
    command += ["--state-dir", str(workplace.path(state)), *flags]
    log = workplace.path("logs", f"{state}.log")
    log.unlink(missing_ok=True)  # of a round before, with another port in it
    with Program("floxbridge serve", command, log=log, environment=workplace.environment) as program:
        yield OurRegistry(program, str(program.wait_for("listening", deadline_s=_START_S)["url"]))


def push(
    hub: Hub,
    folder: Path,
    packages: Sequence[StorePath],
    *,
    environment: str = ENVIRONMENT,
    hook: str | None = None,
) -> None:
    """A generation that installs these, live from now on. `folder` is made; it keeps the pushed files."""
    wanted = tuple(Package(path.name, "1.0", "Made for the benchmark", path) for path in packages)
    hub.push(environment, Generation(System.X86_64_LINUX, wanted, "true", hook=hook).write(folder))

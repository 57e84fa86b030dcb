"""floxbridge installed on this machine: a FloxHub of one's own, the registry, a node's agent and launcher.

Belongs here: which command is run with which arguments, and where its things lie in the workplace. Everything goes by
command line, as an operator has it. What runs on it is `story.py`'s and the node tests' business.
"""

import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flox_formats.signature import PublicKey
from floxbridge_demo.generation import GenerationFiles
from floxbridge_demo.nix_cache import NixCache
from floxbridge_demo.program import Program, ProgramFailed
from floxbridge_demo.workplace import Workplace

RESOLVE_TTL_S = 2.0  # the registry's own default

_START_S = 30.0
_COMMAND_S = 60.0
_LIVE_S = 30.0
_POLL_S = 0.1
_LAUNCHER_DEADLINE_MS = 60_000


def program_path(name: str) -> str:
    """The script of that name beside this Python, else in PATH. Raises ProgramFailed."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ProgramFailed(f"{name} is not installed beside {sys.executable}, nor in PATH")
    return found


def run_command(workplace: Workplace, name: str, *arguments: str | Path) -> str:
    """Runs one command to its end; gives what it printed on stdout. Raises ProgramFailed with its last words."""
    said = " ".join([name, *map(str, arguments)])
    try:
        done = subprocess.run(
            [program_path(name), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=workplace.environment,
            timeout=_COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"`{said}` was not done in {_COMMAND_S:g} s") from error
    if done.returncode != 0:
        raise ProgramFailed(f"`{said}` ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


class Hub:
    """The bare repositories of an embedded FloxHub. `floxbridge serve --hub-dir` serves them."""

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self.root = workplace.path("hub")
        run_command(workplace, "floxbridge", "hub", "init", "--root", self.root)

    def push(self, environment: str, files: GenerationFiles, *, private: bool = False) -> None:
        """Makes a new generation, which is live from then on."""
        arguments: list[str | Path] = ["--root", self.root, "--manifest", files.manifest, "--lock", files.lock]
        arguments += ["--private"] if private else []
        run_command(self._workplace, "floxbridge", "hub", "push", environment, *arguments)

    def switch(self, environment: str, generation: int) -> None:
        """Sets an old generation live."""
        run_command(self._workplace, "floxbridge", "hub", "switch", environment, str(generation), "--root", self.root)


@dataclass(frozen=True, slots=True)
class Registry:
    """`floxhub_url` is what images say of the embedded FloxHub; its git is below `url`."""

    program: Program
    url: str
    floxhub_url: str

    def digest(self, environment: str, tag: str = "live") -> str:
        """What the tag means now."""
        url = f"{self.url}/v2/flox/empty/{environment.lower()}/manifests/{tag}"
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_LIVE_S) as answer:
            return str(answer.headers["Docker-Content-Digest"])

    def wait_for_another(self, environment: str, digest: str) -> None:
        """Until the live generation is not the one with this digest. Raises ProgramFailed."""
        end = time.monotonic() + _LIVE_S
        while self.digest(environment) == digest:
            if time.monotonic() > end:
                raise ProgramFailed(f"the registry still says {digest} of {environment}\n{self.program.log_end()}")
            time.sleep(_POLL_S)


@contextmanager
def running_registry(
    workplace: Workplace,
    hub: Hub,
    cache: NixCache,
    *,
    resolve_ttl_s: float = RESOLVE_TTL_S,
    more: Sequence[str] = (),
) -> Iterator[Registry]:
    """`floxbridge serve` on a free port. For `resolve_ttl_s` an answer about what is live is good; `more` are flags."""
    command = [program_path("floxbridge"), "serve", "--listen", "127.0.0.1:0", "--drain-grace-s", "0"]
    command += ["--state-dir", str(workplace.path("registry")), "--hub-dir", str(hub.root)]
    command += ["--nix-cache", cache.url, "--trusted-key", str(cache.public_key)]
    command += ["--resolve-ttl-s", str(resolve_ttl_s), *more]
    log = workplace.path("logs", "registry.log")
    with Program("registry", command, log=log, environment=workplace.environment) as program:
        listening = program.wait_for("listening", deadline_s=_START_S)
        yield Registry(program, str(listening["url"]), str(listening["floxhub"]))


@dataclass(frozen=True, slots=True)
class Agent:
    program: Program
    socket: Path
    state: Path

    def fetched_bytes(self) -> int:
        """All that it fetched from the registry so far."""
        return sum(int(str(event["fetched_bytes"])) for event in self.program.events("realised"))


@contextmanager
def running_agent(
    workplace: Workplace, registry_url: str, key: PublicKey, *, before: Sequence[str] = (), more: Sequence[str] = ()
) -> Iterator[Agent]:
    """`floxbridge-node agent`, with a node store of its own. `before` is what it is run by, as words before its own;
    `more` are flags."""
    socket, state = workplace.path("agent.sock"), workplace.path("node")
    command = [*before, program_path("floxbridge-node"), "agent", "--socket", str(socket), "--state-dir", str(state)]
    command += ["--registry-url", registry_url, "--trusted-key", str(key)]
    command += ["--connect-timeout-s", "2", *more]  # here one machine is the node, the cluster and the desk
    log = workplace.path("logs", "agent.log")
    with Program("agent", command, log=log, environment=workplace.environment) as program:
        program.wait_for("listening", deadline_s=_START_S)
        yield Agent(program, socket, state)


def install_launcher(workplace: Workplace, agent_socket: Path) -> Path:
    """Builds the launcher and writes its settings beside it. Gives what containerd's `BinaryName` is to say."""
    launcher = workplace.path("bin", "floxbridge-runc")
    run_command(workplace, "floxbridge-node", "build-launcher", "--output", launcher)
    settings = f"runtime=runc\nsocket={agent_socket}\ndeadline_ms={_LAUNCHER_DEADLINE_MS}\n"
    launcher.with_name(f"{launcher.name}.conf").write_text(settings)
    return launcher

"""What is measured: the node's half, by command line, with a store of its own.

Belongs here: `floxbridge-node realise`, and the launcher with its agent in front of runc.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.benchmark import find_program
from bench.closure_cache import Closure
from bench.containers import Containers
from bench.our_registry import ENVIRONMENT, OurRegistry, Upstream, running_our_registry
from bench.stopwatch import timed
from flox_formats.signature import PublicKey
from floxbridge_demo.installation import Hub, install_launcher, program_path, running_agent
from floxbridge_demo.workplace import Workplace


@dataclass(frozen=True, slots=True)
class Realised:
    seconds: float
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class Runtimes:
    """Two ways to make a container: `through` the launcher and its agent, and `plain` runc."""

    registry: OurRegistry
    through: Containers
    plain: Containers


@contextmanager
def running_runtimes(workplace: Workplace, closure: Closure, hub: Hub) -> Iterator[Runtimes]:
    """With the environment of `hub` on the node: its closure is there, from a registry that has it."""
    key = closure.cache.public_key
    with (
        running_our_registry(workplace, Upstream(hub, closure.cache.url, key)) as registry,
        running_agent(workplace, registry.url, key) as agent,
    ):
        realise(workplace, agent.state, registry.url, key)
        launcher = str(install_launcher(workplace, agent.socket))
        through, plain = (Containers.of(name, workplace) for name in (launcher, find_program("runc") or "runc"))
        yield Runtimes(registry, through, plain)


def realise(
    workplace: Workplace, state: Path, registry_url: str, key: PublicKey, *, environment: str = ENVIRONMENT
) -> Realised:
    """The whole command, from its start to its end. Raises BenchmarkFailed."""
    command = [program_path("floxbridge-node"), "realise", environment, "--json", "--state-dir", str(state)]
    command += ["--registry-url", registry_url, "--trusted-key", str(key)]
    log = workplace.path("logs", "realise.json")
    seconds = timed(command, log=log, environment=workplace.environment)
    return Realised(seconds, int(json.loads(log.read_text())["fetched_bytes"]))

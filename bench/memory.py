"""What the registry holds in memory after many requests for many environments: its caches have bounds.

The hub is a process of its own, so that its memory is not counted. Its environments are branches that begin at the same
commit; to the registry each is another one. Answers are good for ten minutes here, since a thousand environments
that are asked for again every two seconds would measure git.
"""

import subprocess
from pathlib import Path

from bench.benchmark import Benchmark, BenchmarkFailed, Stage, find_program
from bench.figure import Figure, Limit, Unit
from bench.hub_server import running_hub
from bench.load import load
from bench.memory_use import resident_peak_bytes
from bench.our_registry import OurRegistry, push, running_with
from bench.peer_registry import ACCEPT
from bench.rounds import scaled
from flox_formats.store_path import StorePath
from floxbridge_demo.installation import Hub

_ENVIRONMENTS = 1_000
_REQUESTS = 100_000
_ROUND_S = 5
_MOST_ROUNDS = 24
_PACKAGES = 30  # as many as an ordinary environment's lockfile has
_AT_MOST_BYTES = 150_000_000


def _measure(stage: Stage) -> list[Figure]:
    workplace = stage.workplace
    environments = scaled(_ENVIRONMENTS, min(stage.scale, 1), at_least=10)
    hub = Hub(workplace)
    packages = [StorePath(f"{number:032}", f"package-{number}-1.0") for number in range(_PACKAGES)]
    push(hub, workplace.path("pushed"), packages, environment="acme/env-0")
    _branch_off(hub.root / "acme" / "floxmeta", environments)
    with (
        running_hub(workplace, hub) as flags,
        running_with(workplace, *flags, "--resolve-ttl-s", "600", state="registry") as registry,
    ):
        idle = resident_peak_bytes(registry.program.pid)
        requests = _ask(registry, environments, scaled(_REQUESTS, stage.scale))
        busy = resident_peak_bytes(registry.program.pid)
    return [
        Figure("resident at most, before the first request", Unit.BYTES, idle),
        Figure(
            f"resident at most, after {requests:,} for {environments:,} environments",
            Unit.BYTES,
            busy,
            bound=Limit(_AT_MOST_BYTES),
        ),
    ]


def _branch_off(repository: Path, count: int) -> None:
    """Makes env-1, env-2, … of env-0."""
    git = [find_program("git") or "git", "-C", str(repository)]
    commit = subprocess.run([*git, "rev-parse", "refs/heads/env-0"], capture_output=True, text=True, check=True)
    updates = "".join(f"create refs/heads/env-{number} {commit.stdout}" for number in range(1, count))
    subprocess.run([*git, "update-ref", "--stdin"], input=updates, text=True, check=True)
    subprocess.run([*git, "pack-refs", "--all"], check=True)


def _ask(registry: OurRegistry, environments: int, wanted: int) -> int:
    """How many requests there were, `wanted` at least. Each environment is asked for."""
    url, asked = f"{registry.repository('acme/env-{}')}/manifests/live", 0
    for _ in range(_MOST_ROUNDS):
        asked += load(url, duration_s=_ROUND_S, headers=ACCEPT, environments=environments).requests
        if asked >= wanted:
            return asked
    raise BenchmarkFailed(f"only {asked} requests were answered in {_MOST_ROUNDS * _ROUND_S} s")


MEMORY = Benchmark("memory", "floxbridge serve alone", _measure, ("git", "wrk"))

"""What is measured: the node's half, by command line, with a store of its own.

Belongs here: `floxbridge-node realise`, and the launcher with its agent in front of runc.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from bench.our_registry import ENVIRONMENT
from bench.stopwatch import timed
from flox_formats.signature import PublicKey
from floxbridge_demo.installation import program_path
from floxbridge_demo.workplace import Workplace


@dataclass(frozen=True, slots=True)
class Realised:
    seconds: float
    fetched_bytes: int


def realise(
    workplace: Workplace, state: Path, registry_url: str, key: PublicKey, *, environment: str = ENVIRONMENT
) -> Realised:
    """The whole command, from its start to its end. Raises BenchmarkFailed."""
    command = [program_path("floxbridge-node"), "realise", environment, "--json", "--state-dir", str(state)]
    command += ["--registry-url", registry_url, "--trusted-key", str(key)]
    log = workplace.path("logs", "realise.json")
    seconds = timed(command, log=log, environment=workplace.environment)
    return Realised(seconds, int(json.loads(log.read_text())["fetched_bytes"]))

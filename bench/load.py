"""Load: wrk asks one URL over and over, on connections that stay open."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.benchmark import BenchmarkFailed

_SCRIPT = Path(__file__).with_name("load.lua")
_THREADS = 2
_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the server managed."""

    requests: int
    per_s: float
    p99_s: float

    @classmethod
    def parse(cls, output: str) -> "Load":
        """Reads the last line, which is `load.lua`'s. Raises BenchmarkFailed, also when any request failed."""
        try:
            told = json.loads(output.splitlines()[-1])
            requests, failed = int(told["requests"]), int(told["failed"])
            load = cls(requests, requests / (told["duration_us"] / 1e6), told["p99_us"] / 1e6)
        except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise BenchmarkFailed(f"wrk did not report: {output[-500:]!r}") from error
        if failed or not requests:
            raise BenchmarkFailed(f"{failed} of {requests} requests failed")
        return load


def load(
    url: str,
    *,
    duration_s: int,
    connections: int = 32,
    headers: Mapping[str, str] | None = None,
    environments: int | None = None,
) -> Load:
    """Puts `url` under load. With `environments`, `{}` in its path counts from 0 to that.

    Raises BenchmarkFailed.
    """
    command = [
        "wrk",
        f"-t{_THREADS}",
        f"-c{connections}",
        f"-d{duration_s}s",
        f"--timeout={_GRACE_S:g}s",
        "-s",
        str(_SCRIPT),
    ]
    command += [f"-H{name}: {value}" for name, value in (headers or {}).items()]
    command += [url, "--", *([str(environments)] if environments is not None else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=duration_s + _GRACE_S, check=False)
    if done.returncode != 0:
        raise BenchmarkFailed(f"wrk ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return Load.parse(done.stdout)

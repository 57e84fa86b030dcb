"""Programs that do not tell where they listen, or when they do: a port for them, and waiting until they answer."""

import socket
import time

import httpx2

from bench.benchmark import BenchmarkFailed
from floxbridge_demo.program import Program

_START_S = 20.0
_POLL_S = 0.02


def free_address() -> str:
    """HOST:PORT that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def wait_until_up(program: Program, url: str) -> None:
    """Until `url` is answered, whatever the answer is. Raises BenchmarkFailed."""
    end = time.monotonic() + _START_S
    while True:
        try:
            httpx2.get(url)
            return
        except httpx2.TransportError as error:
            if not program.running or time.monotonic() > end:
                raise BenchmarkFailed(f"{program.name} does not answer at {url}\n{program.log_end()}") from error
        time.sleep(_POLL_S)

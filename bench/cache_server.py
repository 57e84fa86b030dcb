"""The binary cache over HTTP, as everybody has it: the folder, served by nginx."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from bench.benchmark import BenchmarkFailed, find_program
from bench.peer_registry import free_port
from floxbridge_demo.program import Program
from floxbridge_demo.workplace import Workplace

_START_S = 20.0
_POLL_S = 0.02
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def serving_folder(workplace: Workplace, folder: Path) -> Iterator[str]:
    """The URL of `folder`. Raises ProgramFailed, BenchmarkFailed."""
    address, home = f"127.0.0.1:{free_port()}", workplace.path("nginx", "conf").parent
    (home / "conf").write_text(_config(address, home, folder))
    command = [find_program("nginx") or "nginx", "-p", str(home), "-c", str(home / "conf"), "-e", str(home / "errors")]
    log = workplace.path("logs", "nginx.log")
    with Program("nginx", command, log=log, environment=workplace.environment) as program:
        _wait_until_up(program, f"http://{address}")
        yield f"http://{address}"


def _config(address: str, home: Path, folder: Path) -> str:
    temporary = "".join(f"  {name}_temp_path {home}/{name};\n" for name in _TEMPORARY)
    return (
        f"daemon off;\nuser root;\nworker_processes auto;\npid {home}/pid;\n"
        "events { worker_connections 1024; }\n"
        f"http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n{temporary}"
        f"  server {{\n    listen {address};\n    root {folder};\n  }}\n}}\n"
    )


def _wait_until_up(program: Program, url: str) -> None:
    end = time.monotonic() + _START_S
    while True:
        try:
            httpx2.get(url)
            return
        except httpx2.TransportError as error:
            if not program.running or time.monotonic() > end:
                raise BenchmarkFailed(f"nginx does not answer\n{program.log_end()}") from error
        time.sleep(_POLL_S)

"""The binary cache over HTTP, as everybody has it: the folder, served by nginx.

Belongs here: running it, and what it says that it sent.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.benchmark import find_program
from bench.listening import free_address, wait_until_up
from floxbridge_demo.program import Program
from floxbridge_demo.workplace import Workplace

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def serving_folder(workplace: Workplace, folder: Path, *, sent: Path | None = None) -> Iterator[str]:
    """The URL of `folder`. It notes in the file `sent` what it sends. Raises ProgramFailed, BenchmarkFailed."""
    address, home = free_address(), workplace.path("nginx", "conf").parent
    (home / "conf").write_text(_config(address, home, folder, sent))
    command = [find_program("nginx") or "nginx", "-p", str(home), "-c", str(home / "conf"), "-e", str(home / "errors")]
    log = workplace.path("logs", "nginx.log")
    with Program("nginx", command, log=log, environment=workplace.environment) as program:
        wait_until_up(program, f"http://{address}")
        yield f"http://{address}"


def bytes_sent(sent: str) -> Counter[str]:
    """How many of each file of the folder, named as below it, by the text of the notes."""
    found = Counter[str]()
    for line in sent.splitlines():
        size, _, path = line.partition(" /")
        found[path] += int(size)
    return found


def _config(address: str, home: Path, folder: Path, sent: Path | None) -> str:
    notes = "access_log off" if sent is None else f"log_format sent '$body_bytes_sent $uri';\n  access_log {sent} sent"
    temporary = "".join(f"  {name}_temp_path {home}/{name};\n" for name in _TEMPORARY)
    return (
        f"daemon off;\nuser root;\nworker_processes auto;\npid {home}/pid;\n"
        "events { worker_connections 1024; }\n"
        f"http {{\n  {notes};\n  sendfile on;\n  tcp_nopush on;\n{temporary}"
        f"  server {{\n    listen {address};\n    root {folder};\n  }}\n}}\n"
    )

"""A FloxHub in a process of its own, as it is everywhere but in the demo.

Belongs here: running one. Inside the registry, what git costs a hub would be measured as the registry's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.listening import free_address, wait_until_up
from floxbridge_demo.installation import Hub, program_path
from floxbridge_demo.program import Program
from floxbridge_demo.workplace import Workplace


@contextmanager
def running_hub(workplace: Workplace, hub: Hub) -> Iterator[list[str]]:
    """The flags by which a registry asks it. Raises ProgramFailed."""
    address = free_address()
    command = [program_path("floxbridge"), "hub", "serve", "--root", str(hub.root), "--listen", address]
    log = workplace.path("logs", "hub.log")
    with Program("floxbridge hub serve", command, log=log, environment=workplace.environment) as program:
        wait_until_up(program, f"http://{address}/")
        yield ["--floxhub-url", "http://floxhub.localhost", "--floxhub-git-url", f"http://{address}/git"]

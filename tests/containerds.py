"""Real containerds to run pods on: the system's, and those that tools/newer-runtimes.sh unpacked, and a crun for those.

Fixtures, for the conftest.py of each folder that wants them.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from floxbridge_demo.busybox import BusyboxMissing, static_busybox
from floxbridge_demo.containerd import ContainerdBinaries
from floxbridge_demo.workplace import Workplace, own_workplace
from tests.conftest import cannot_run, needs, needs_root

RUNTIMES = Path(__file__).resolve().parents[1] / "build" / "runtimes"
NEWER_CRUN = str(RUNTIMES / "crun" / "usr" / "bin" / "crun")


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(None, id="system-containerd"),
        pytest.param(RUNTIMES / "trixie" / "usr" / "bin", id="trixie-containerd"),
        pytest.param(RUNTIMES / "sid" / "usr" / "bin", id="sid-containerd"),
    ],
)
def containerd_binaries(request: pytest.FixtureRequest) -> ContainerdBinaries:
    """Each containerd that this machine can have. The newest has version 2."""
    needs_root()
    needs("runc")
    try:
        static_busybox()
    except BusyboxMissing as error:
        cannot_run(str(error))
    found = ContainerdBinaries.find(request.param)
    if found is None:
        cannot_run(f"no containerd in {request.param or 'PATH'}; `make test` gets it on Debian")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def parent() -> Iterator[Path]:
    """Where workplaces go. Short, since sockets lie below it: pytest's own are too long for podman where it is run by
    several processes."""
    with tempfile.TemporaryDirectory(prefix="fb-") as folder:
        yield Path(folder)


@pytest.fixture
def workplace(parent: Path) -> Iterator[Workplace]:
    with own_workplace(parent) as made:
        yield made

"""What every test may ask of its machine. A test that cannot run here says why; CI makes that a failure."""

import os
import shutil

import pytest

TEST_ALL = os.environ.get("FLOXBRIDGE_TEST_ALL") == "1"


def cannot_run(reason: str) -> None:
    """Skips with `reason`; with FLOXBRIDGE_TEST_ALL=1, as CI sets it, fails."""
    if TEST_ALL:
        pytest.fail(f"FLOXBRIDGE_TEST_ALL=1 and this test cannot run: {reason}")
    pytest.skip(reason)


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        cannot_run(f"{', '.join(missing)} not installed; `make setup` as root installs it on Debian")


def needs_root() -> None:
    if os.geteuid() != 0:
        cannot_run("not root: mounts and containers need it")


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of tests marked `anyio`: the one that both programs run on."""
    return "asyncio"

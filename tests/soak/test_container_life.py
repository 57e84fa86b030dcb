"""kill -9 at any moment of containers' lives, on a disk with room and on one without, leaves a node that heals itself.

In `make test` a short form, which proves that the long one works; `make soak` sets FLOXBRIDGE_SOAK_KILLS.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot_run, needs, needs_root
from tests.integration.small_registry import KEY, Package, SmallRegistry, program
from tests.unit.nar_trees import File, Tree

KILLS = int(os.environ.get("FLOXBRIDGE_SOAK_KILLS", "20"))
SEED = int(os.environ.get("FLOXBRIDGE_SOAK_SEED", str(random.randrange(1_000_000))))


def some_files(name: str) -> Tree:
    return {b"share": {f"{name}-{number:03}".encode(): File(b"x" * number) for number in range(40)}}


@pytest.fixture(params=["room", "full"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """Where the state is, and whether it has no more room than it needs."""
    state, full = tmp_path / "state", request.param == "full"
    if not full:
        yield state, full
        return
    needs_root()
    needs("mount", "umount")
    state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "floxbridge-test", str(state)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        cannot_run(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield state, full
    subprocess.run(["umount", str(state)], check=True, timeout=60)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.timeout(120 + 5 * KILLS)
async def test_killed_at_any_moment(disk: tuple[Path, bool], tmp_path: Path) -> None:
    registry, (state, full) = SmallRegistry(), disk
    lib = Package.make("lib", some_files("lib"))
    for number in range(3):
        own = Package.make(f"p{number}", program(f"p{number}", size=50_000), [lib.store_path])
        registry.push(f"acme/e{number}", 1, lib, own, Package.make(f"d{number}", some_files(f"d{number}")))
    async with registry.serving():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.container_life",
            "--state", str(state), "--bundles", str(tmp_path / "bundles"), "--url", registry.url,
            "--key", str(KEY.public), "--kills", str(KILLS), "--seed", str(SEED), *(["--full"] if full else []),
            "acme/e0", "acme/e1", "acme/e2",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        said, problem = await process.communicate()
    assert process.returncode == 0, f"FLOXBRIDGE_SOAK_SEED={SEED}:\n{problem.decode()}"
    done = json.loads(said)
    assert done["kills"] == KILLS
    assert done["edited"] > 0, "nothing was alive long enough"
    print(done)

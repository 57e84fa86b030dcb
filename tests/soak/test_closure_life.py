"""kill -9 at any moment of a closure's life leaves a store that heals itself.

In `make test` a short form, which proves that the long one works; `make soak` sets FLOXBRIDGE_SOAK_KILLS.
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path

import pytest

from flox_formats.narinfo import Compression
from shim_hooks.floxhub_token import FloxHubToken
from tests.integration.small_registry import KEY, Package, SmallRegistry, program
from tests.soak.closure_life import PRIVATE_OWNER
from tests.unit.nar_trees import File, Tree

TOKEN = FloxHubToken("flox_pat_mine")
KILLS = int(os.environ.get("FLOXBRIDGE_SOAK_KILLS", "60"))
SEED = int(os.environ.get("FLOXBRIDGE_SOAK_SEED", str(random.randrange(1_000_000))))


def many_files(name: str) -> Tree:
    return {b"share": {f"{name}-{number:03}".encode(): File(b"x" * number) for number in range(200)}}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.timeout(120 + 5 * KILLS)
async def test_killed_at_any_moment(tmp_path: Path) -> None:
    registry = SmallRegistry()
    lib = Package.make("lib", many_files("lib"))
    environments = ("acme/e0", "acme/e1", f"{PRIVATE_OWNER}e2")
    registry.private[environments[-1]] = TOKEN
    for number, compression in enumerate((Compression.XZ, Compression.ZSTD, Compression.NONE)):
        programs = (
            Package.make(f"p{number}{each}", program(f"p{number}{each}", size=50_000), [lib.store_path],
                         compression=compression)
            for each in range(5)
        )  # fmt: skip
        registry.push(environments[number], 1, lib, *programs, Package.make(f"d{number}", many_files(f"d{number}")))
    async with registry.serving():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.closure_life",
            "--state", str(tmp_path / "state"), "--url", registry.url, "--key", str(KEY.public),
            "--token", TOKEN.text, "--kills", str(KILLS), "--seed", str(SEED), *environments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        said, problem = await process.communicate()
    assert process.returncode == 0, f"FLOXBRIDGE_SOAK_SEED={SEED}:\n{problem.decode()}"
    done = json.loads(said)
    assert done["kills"] == KILLS
    print(f"{done['disturbed']} of {KILLS} kills left something half-made")

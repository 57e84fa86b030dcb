"""A registry that is killed at any moment, by the kernel and without a word: what it leaves is used, not mended."""

import random
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from flox_formats.digest import Digest
from floxbridge_demo.program import Program
from tests.integration.large_package import large_package
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_closure_faults import nars
from tests.integration.test_observability import registry_process
from tests.integration.test_pull_api import WEB

MEBIBYTE = 1024 * 1024
KILLS = 6


@pytest.fixture
def blob(world: World) -> Digest:
    path, digest = large_package(world, "large", 24 * MEBIBYTE)
    for _ in range(3):
        world.push("acme/web", path, world.package("hello", "hi"))
    return digest


def everything(client: httpx2.Client) -> dict[str, Digest]:
    """All that the registry has of the environment, each with the digest of what arrived."""
    found = {}
    for tag in ("live", "1", "2", "3"):
        index = client.get(f"{WEB}/manifests/{tag}")
        assert index.status_code == 200, index.text
        found[tag] = Digest.of(index.content)
        for platform in index.json()["manifests"]:
            manifest = client.get(f"{WEB}/manifests/{platform['digest']}")
            for descriptor in (manifest.json()["config"], *manifest.json()["layers"]):
                content = client.get(f"{WEB}/blobs/{descriptor['digest']}")
                found[descriptor["digest"]] = Digest.of(content.content)
    for layer in nars(client):
        found[str(layer["digest"])] = Digest.of(client.get(f"{WEB}/blobs/{layer['digest']}").content)
    for name, digest in found.items():
        assert name in (str(digest), "live", "1", "2", "3")
    return found


def kill_at(program: Program, client: httpx2.Client, after_s: float) -> None:
    """Asks for everything at once, and kills the registry `after_s` seconds later."""
    timer = threading.Timer(after_s, program.kill)
    timer.start()
    with suppress(httpx2.HTTPError, KeyError, AssertionError):  # what an answer that was cut may lead to
        while True:
            everything(client)
    timer.join()


def test_killed_again_and_again(world: World, blob: Digest) -> None:
    with running_registry(world.settings("calm")) as client:
        right = everything(client)
    moments = random.Random(7)
    for kill in range(KILLS):
        with registry_process(world) as (client, program):
            kill_at(program, client, moments.uniform(0, 0.4))
        if kill % 3 == 2:
            with running_registry(world.settings()) as client:
                assert everything(client) == right
            assert not leftovers(world.root / "state")
            shutil.rmtree(world.root / "state")


def leftovers(state: Path) -> list[Path]:
    return [path for path in state.rglob("*") if path.is_file() and ".staging" in path.parts]

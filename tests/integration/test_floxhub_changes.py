"""What its owner does to an environment on FloxHub, with plain git: rewrites, deletes, puts something else there."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.registry_rig import World, lock_of, running_registry
from tests.integration.test_floxhub_faults import METADATA
from tests.integration.test_pull_api import WEB, digest_of, message

IDENTITY = ("-c", "user.name=x", "-c", "user.email=x@y.invalid")


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True, timeout=60)


def force_push(world: World, work: Path, files: dict[str, str]) -> None:
    """Makes the branch a single commit with these files, whatever it was before."""
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    git("init", "-q", "-b", "web", str(work))
    git("-C", str(work), "add", ".")
    git("-C", str(work), *IDENTITY, "commit", "-q", "-m", "by hand")
    git("-C", str(work), "push", "-q", "--force", str(world.hub / "acme" / "floxmeta"), "web")


def delete(world: World) -> None:
    git("-C", str(world.hub / "acme" / "floxmeta"), "update-ref", "-d", "refs/heads/web")


def test_a_generation_that_is_rewritten_is_another_image(world: World, tmp_path: Path) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    other = lock_of(world.package("other", "there")).decode()
    with running_registry(world.settings(pinned_ttl_s=0)) as client:
        before = digest_of(client, "1")
        force_push(world, tmp_path / "work", {"metadata.json": METADATA, "1/env/manifest.lock": other})
        after = digest_of(client, "1")
        assert after != before
        assert digest_of(client, "live") == after
        assert digest_of(client, before) == before  # what runs by digest goes on running


def test_a_switch_back_is_seen_when_the_answer_is_no_longer_fresh(world: World) -> None:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    world.push("acme/web", hello, world.package("more", "there"))
    with running_registry(world.settings(resolve_ttl_s=0.5)) as client:
        first, second = digest_of(client, "1"), digest_of(client, "live")
        assert first != second
        world.switch("acme/web", 1)
        deadline = time.monotonic() + 20
        while (answer := client.get(f"{WEB}/manifests/live")).headers["docker-content-digest"] != first:
            assert answer.headers["docker-content-digest"] == second
            assert time.monotonic() < deadline, "it is served for ever"
        assert digest_of(client, "2") == second


def test_an_environment_that_is_deleted_and_comes_back(world: World) -> None:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    world.push("acme/api", hello)
    with running_registry(world.settings()) as client:
        before = digest_of(client, "live")
        delete(world)
        answer = client.get(f"{WEB}/manifests/live")
        assert (answer.status_code, "no environment acme/web" in message(answer)) == (404, True)
    with running_registry(world.settings()) as client:
        assert client.get(f"{WEB}/manifests/live").status_code == 404
        world.push("acme/web", hello)
        assert digest_of(client, "live") == before


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param({"README": "hello"}, "metadata.json", id="something-else"),
        pytest.param({"metadata.json/nested": "{}"}, "metadata.json", id="a-folder-of-that-name"),
        pytest.param({"metadata.json": "x" * 70_000_000}, "", id="far-too-large"),
    ],
)
def test_a_branch_that_becomes_something_else(world: World, tmp_path: Path, files: dict[str, str], said: str) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        before = digest_of(client, "live")
        force_push(world, tmp_path / "work", files)
        answer = client.get(f"{WEB}/manifests/live")
        if answer.status_code == 200:  # what FloxHub says cannot be read: the last known answer
            assert answer.headers["floxbridge-resolution"] == "stale"
        else:
            assert (answer.status_code, said in message(answer)) == (404, True), answer.text
        delete(world)
        world.push("acme/web", world.package("hello", "hi"))
        assert digest_of(client, "live") == before

"""The folder of what FloxHub said, with commits of a real hub: several threads at once, and files that are lost."""

import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from threading import Barrier

import pytest

from flox_formats.environment import EnvironmentName
from registry_proxy.floxhub.deadline import Deadline, PunctualClient
from registry_proxy.floxhub.git import FloxHubGit
from registry_proxy.floxhub.snapshots import Fetched, Snapshots
from registry_proxy.floxhub.urls import FloxHubUrls
from registry_proxy.hub.server import serve_hub_app
from tests.integration.faulty_upstream import serving
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_crash import everything
from tests.integration.test_pull_api import WEB, digest_of, message

NAME = EnvironmentName("acme", "web")
VIEWERS = [f"viewer{number}" for number in range(12)]
ROUNDS = 10


NOW = 1772438400.0


def again(fetched: Fetched, snapshots: Snapshots) -> Fetched:
    """As another question fetched it, which saw that its objects were not here yet."""
    folder = snapshots.new_folder()
    shutil.copytree(fetched.folder, folder)
    return replace(fetched, folder=folder)


@pytest.fixture
def commits(world: World) -> Iterator[tuple[Fetched, Fetched]]:
    hello = world.package("hello", "hi")
    with serving(serve_hub_app(world.hub)) as url, PunctualClient() as http:
        floxhub = FloxHubGit(FloxHubUrls.parse(url, None), http)

        def fetched(name: str) -> Fetched:
            world.push("acme/web", hello)
            folder = world.root / name
            folder.mkdir()
            deadline = Deadline.after(20)
            tip = floxhub.fetch(NAME, token=None, have=lambda _: False, folder=folder, deadline=deadline)
            return Fetched(tip.commit, folder, NOW)

        yield fetched("first"), fetched("second")


@pytest.mark.parametrize("different", [False, True], ids=["one-commit", "two-commits"])
def test_credentials_that_meet_new_commits_at_once(
    world: World, commits: tuple[Fetched, Fetched], different: bool
) -> None:
    """Two commits: what one of them sweeps is not what another is just about to name."""
    for turn in range(ROUNDS):
        snapshots = Snapshots(world.root / f"kept{turn}")
        together = Barrier(len(VIEWERS))

        def keep(number: int, snapshots: Snapshots = snapshots, together: Barrier = together) -> str:
            fetched = again(commits[number % 2 if different else 0], snapshots)
            together.wait(20)
            return snapshots.keep(NAME, VIEWERS[number], fetched, None).commit

        with ThreadPoolExecutor(len(VIEWERS)) as pool:
            shown = list(pool.map(keep, range(len(VIEWERS))))
        assert [commit_of(snapshots, viewer) for viewer in VIEWERS] == shown


def commit_of(snapshots: Snapshots, viewer: str) -> str | None:
    latest = snapshots.latest(NAME, viewer)
    return latest.snapshot.commit if latest is not None else None


def test_a_commit_takes_memory_once_however_many_are_shown_it(world: World, commits: tuple[Fetched, Fetched]) -> None:
    snapshots = Snapshots(world.root / "kept")
    shown = [snapshots.keep(NAME, viewer, again(commits[0], snapshots), None) for viewer in VIEWERS]
    remembered = [snapshots.latest(NAME, viewer) for viewer in VIEWERS]
    assert {id(snapshot) for snapshot in shown} == {id(latest.snapshot) for latest in remembered if latest is not None}
    assert len({id(snapshot) for snapshot in shown}) == 1


def test_an_answer_is_as_old_as_its_question(world: World, commits: tuple[Fetched, Fetched]) -> None:
    snapshots, known = Snapshots(world.root / "kept"), None
    for asked_at in (time.time() - 100, time.time() - 50):  # the first is kept anew, the second confirms it
        known = snapshots.keep(NAME, "one", replace(again(commits[0], snapshots), asked_at=asked_at), known)
        latest = snapshots.latest(NAME, "one")
        assert latest is not None
        assert latest.age_s >= time.time() - asked_at - 1


@pytest.mark.parametrize("restarted", [False, True], ids=["at-run-time", "while-it-was-stopped"])
@pytest.mark.parametrize("lost", ["*/", "*/pack/*"], ids=["folder", "packs"])
@pytest.mark.parametrize("tag", ["live", "1"])
def test_a_commit_whose_files_are_lost_is_fetched_again(world: World, tag: str, lost: str, restarted: bool) -> None:
    """Some of them, or all: what cleans a folder of temporary files leaves folders."""
    for text in ("hi", "there"):
        world.push("acme/web", world.package("hello", text))
    with running_registry(world.settings("calm")) as client:
        right = digest_of(client, tag)
    with ExitStack() as running:
        client = running.enter_context(running_registry(world.settings()))
        digest_of(client, "2" if tag == "1" else "1")  # so that the other one's image is still to be made
        if restarted:
            running.close()
        gone = list((world.root / "state" / "floxhub" / "acme" / "web").glob(lost))
        assert gone
        for path in gone:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if restarted:
            client = running.enter_context(running_registry(world.settings()))
        first = client.get(f"{WEB}/manifests/{tag}")
        if first.status_code != 200:
            assert (first.status_code, first.headers["retry-after"], "ask again" in message(first)) == (503, "1", True)
        assert digest_of(client, tag) == right


def test_what_was_asked_later_stays_when_an_older_answer_comes(world: World, commits: tuple[Fetched, Fetched]) -> None:
    snapshots, now = Snapshots(world.root / "kept"), time.time()
    for commit, asked_at in ((commits[1], now), (commits[0], now - 5)):
        snapshots.keep(NAME, "one", replace(again(commit, snapshots), asked_at=asked_at), None)
    latest = snapshots.latest(NAME, "one")
    assert latest is not None
    assert latest.snapshot.commit == commits[1].commit


def test_a_state_directory_that_is_emptied_is_filled_again(world: World) -> None:
    for name in ("web", "web", "web", "api"):
        world.push(f"acme/{name}", world.package("hello", "hi"))
    api = WEB.replace("/web", "/api")
    with running_registry(world.settings("calm")) as client:
        right = everything(client)
    with running_registry(world.settings()) as client:
        everything(client)
        for folder in (world.root / "state").iterdir():
            shutil.rmtree(folder)
        assert (client.get("/readyz").status_code, client.get(f"{api}/manifests/live").status_code) == (200, 200)
        for path in paths(right):  # each says once that it is lost, at most
            client.get(path)
        assert everything(client) == right
    with running_registry(world.settings()) as client:
        assert everything(client) == right


def paths(found: Iterable[str]) -> list[str]:
    """Where each of what `everything` found is asked for, of manifests and of blobs."""
    return [
        f"{WEB}/{kind}/{name}"
        for name in found
        for kind in ("manifests", "blobs")
        if kind == "manifests" or ":" in name
    ]

"""A clock of the world that was set back between two runs: what is remembered seems to come from the future."""

import os
from pathlib import Path

import pytest

from tests.integration.registry_rig import World, running_registry
from tests.integration.test_observability import AWAY, Scraped
from tests.integration.test_pull_api import WEB, digest_of

HOUR_S = 3600.0


def set_back(state: Path, seconds: float) -> None:
    """As if that had happened since the state was written: its files are of a later time than now."""
    for path in (path for path in state.rglob("*") if path.is_file()):
        found = path.stat()
        os.utime(path, (found.st_atime + seconds, found.st_mtime + seconds))


@pytest.fixture
def known(world: World) -> str:
    """The digest that a registry served before the clock was set back an hour."""
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        digest = digest_of(client, "live")
    set_back(world.root / "state", HOUR_S)
    return digest


@pytest.mark.parametrize("ahead_s", [HOUR_S, 50.0, 5.0])
@pytest.mark.parametrize("tag", ["live", "1", "digest"])
def test_what_may_be_old_is_asked_for_again(world: World, known: str, tag: str, ahead_s: float) -> None:
    """Also where it seems to be of a moment that is just to come: it is then as old as the clock was set back."""
    set_back(world.root / "state", ahead_s - HOUR_S)
    with running_registry(world.settings(resolve_ttl_s=100.0, pinned_ttl_s=100.0)) as client:
        assert digest_of(client, known if tag == "digest" else tag) == known
        scraped = Scraped(client)
    assert scraped("floxbridge_resolutions_total", outcome="fresh") == 1
    assert scraped("floxbridge_resolutions_total", outcome="cached") == 0


def test_the_last_known_answer_stands_while_floxhub_is_away(world: World, known: str) -> None:
    with running_registry(world.settings(**AWAY)) as client:
        answer = client.get(f"{WEB}/manifests/live")
    assert (answer.headers["docker-content-digest"], answer.headers["floxbridge-resolution"]) == (known, "stale")
    assert HOUR_S / 2 < int(answer.headers["age"]) <= HOUR_S


@pytest.mark.parametrize(
    ("max_stale_s", "status"), [pytest.param(2 * HOUR_S, 200, id="allowed"), pytest.param(60.0, 503, id="too-old")]
)
def test_what_nobody_knows_the_age_of_is_as_old_as_the_clock_was_wrong(
    world: World, known: str, max_stale_s: float, status: int
) -> None:
    with running_registry(world.settings(**AWAY, max_stale_s=max_stale_s)) as client:
        assert client.get(f"{WEB}/manifests/live").status_code == status


@pytest.mark.parametrize("path", ["manifests/1", "manifests/{known}", "referrers/{known}"])
def test_what_a_number_or_a_digest_means_is_never_too_old(world: World, known: str, path: str) -> None:
    with running_registry(world.settings(**AWAY, max_stale_s=60.0)) as client:
        assert client.get(f"{WEB}/{path.format(known=known)}").status_code == 200
        assert client.get(f"{WEB}/manifests/live").status_code == 503

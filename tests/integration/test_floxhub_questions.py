"""A question to FloxHub belongs to nobody: whoever asked, whoever went away, whatever was killed meanwhile."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx2
import pytest

from registry_proxy.hub.server import serve_hub_app
from tests.integration.faulty_upstream import Fault, FaultyUpstream, serving
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_crash import leftovers
from tests.integration.test_observability import registry_process
from tests.integration.test_pull_api import WEB, digest_of
from tests.integration.wire import DEADLINE_S, Wire

ONE_QUESTION = ["GET", "POST", "POST"]
CLIENTS = 200


@pytest.fixture
def hub(world: World) -> Iterator[tuple[FaultyUpstream, str]]:
    world.push("acme/web", world.package("hello", "hi"))
    upstream = FaultyUpstream(serve_hub_app(world.hub))
    with serving(upstream) as url:
        yield upstream, url
        upstream.release.set()


def patient(world: World, url: str, **more: Any) -> Any:
    return world.settings(hub_dir=None, floxhub_url=url, lookup_timeout_s=20.0, resolve_ttl_s=60.0, **more)


def test_two_hundred_clients_with_a_cold_tag_are_one_question(world: World, hub: tuple[FaultyUpstream, str]) -> None:
    upstream, url = hub
    upstream.fault, upstream.only = Fault.HANG, "info/refs"
    together = Barrier(CLIENTS + 1)
    with running_registry(patient(world, url)) as client, ThreadPoolExecutor(CLIENTS) as pool:

        def ask() -> int:
            with Wire(client.base_url) as wire:
                together.wait(DEADLINE_S)
                wire.get(f"{WEB}/manifests/live")
                together.wait(DEADLINE_S)
                return wire.answer().status

        answers = [pool.submit(ask) for _ in range(CLIENTS)]
        together.wait(DEADLINE_S)
        together.wait(DEADLINE_S)
        assert upstream.hanging.wait(DEADLINE_S)
        upstream.release.set()
        assert {answer.result(DEADLINE_S) for answer in answers} == {200}
    assert [request.split()[0] for request in upstream.requests] == ONE_QUESTION


def test_who_asked_first_may_go_away(world: World, hub: tuple[FaultyUpstream, str]) -> None:
    upstream, url = hub
    upstream.fault, upstream.only = Fault.HANG, "info/refs"
    with running_registry(patient(world, url)) as client, Wire(client.base_url) as second:
        first = Wire(client.base_url)
        first.get(f"{WEB}/manifests/live")
        assert upstream.hanging.wait(DEADLINE_S)
        second.get(f"{WEB}/manifests/live")
        first.reset()
        assert client.get("/healthz").status_code == 200  # so that the registry has seen both
        upstream.release.set()
        assert second.answer().status == 200
    assert [request.split()[0] for request in upstream.requests] == ONE_QUESTION


def test_a_registry_that_is_killed_while_it_fetches_leaves_a_state_of_use(
    world: World, hub: tuple[FaultyUpstream, str]
) -> None:
    upstream, url = hub
    flags = ("--floxhub-url", url, "--resolve-ttl-s", "0", "--lookup-timeout-s", "1")
    with registry_process(world, *flags) as (client, _):
        known = digest_of(client, "live")
    world.push("acme/web", world.package("more", "there"))
    upstream.fault, upstream.only, upstream.spare = Fault.STALL, "git-upload-pack", 1
    with registry_process(world, *flags) as (client, program):
        stale = client.get(f"{WEB}/manifests/live")
        assert (stale.headers["docker-content-digest"], stale.headers["floxbridge-resolution"]) == (known, "stale")
        assert upstream.hanging.wait(DEADLINE_S)
        assert leftovers(world.root / "state"), "half a pack"
        program.kill()
    upstream.fault = Fault.NONE
    upstream.release.set()
    with registry_process(world, *flags) as (client, _):
        assert leftovers(world.root / "state") == []
        assert digest_of(client, "live") != known
        assert digest_of(client, "1") == known


def test_a_floxhub_that_is_killed_while_it_answers(world: World, hub: tuple[FaultyUpstream, str]) -> None:
    upstream, url = hub
    upstream.fault, upstream.only, upstream.spare = Fault.CUT, "git-upload-pack", 1
    with running_registry(patient(world, url)) as client:
        assert client.get(f"{WEB}/manifests/live").status_code == 503
        assert leftovers(world.root / "state") == []
        upstream.fault = Fault.NONE
        with httpx2.Client(base_url=client.base_url) as newcomer:
            assert digest_of(newcomer, "live")

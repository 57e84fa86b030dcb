"""FloxHub away, slow or talking nonsense: each gets one clear sentence, and the next request is right again."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flox_formats.environment import EnvironmentName
from registry_proxy.errors import RegistryError
from registry_proxy.floxhub.deadline import Deadline, PunctualClient
from registry_proxy.floxhub.git import FloxHubGit
from registry_proxy.floxhub.urls import FloxHubUrls
from registry_proxy.hub.server import serve_hub_app
from tests.integration.faulty_upstream import Fault, FaultyUpstream, serving
from tests.integration.registry_rig import World, lock_of, running_registry
from tests.integration.test_private_environments import basic
from tests.integration.test_pull_api import WEB, digest_of, message

WEB_NAME = EnvironmentName("acme", "web")
QUESTIONS = [
    pytest.param("info/refs", 0, id="at-first"),
    pytest.param("git-upload-pack", 0, id="when-asked-for-branches"),
    pytest.param("git-upload-pack", 1, id="when-asked-for-the-pack"),
]


@pytest.fixture
def hub(world: World) -> Iterator[tuple[FaultyUpstream, dict[str, Any]]]:
    """A FloxHub that can fail, and the settings with which a registry asks it."""
    world.push("acme/web", world.package("hello", "hi"))
    upstream = FaultyUpstream(serve_hub_app(world.hub))
    with serving(upstream) as url:
        yield upstream, {"hub_dir": None, "floxhub_url": url, "lookup_timeout_s": 1.0, "fetch_timeout_s": 2.0}
        upstream.release.set()


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        pytest.param(Fault.GARBAGE, 502, "not a git repository", id="garbage"),
        pytest.param(Fault.WEB_PAGE, 502, r"really a FloxHub\?|Invalid content-type", id="web-page"),
        pytest.param(Fault.CUT, 503, "cannot be reached", id="cut"),
        pytest.param(Fault.RESET, 503, "cannot be reached", id="reset"),
        pytest.param(Fault.HANG, 503, "within 1 s", id="hangs"),
        pytest.param(Fault.STALL, 503, "within 1 s", id="hangs-in-the-middle"),
        pytest.param(Fault.UNAUTHORIZED, 401, "to nobody without a token", id="unauthorized"),
        pytest.param(Fault.FORBIDDEN, 403, "does not show them this", id="forbidden"),
        pytest.param(Fault.NOT_FOUND, 404, "no owner", id="not-found"),
        pytest.param(Fault.TOO_MANY, 503, "HTTP 429", id="too-many-requests"),
        pytest.param(Fault.SERVER_ERROR, 503, "HTTP 500", id="server-error"),
        pytest.param(Fault.UNAVAILABLE, 503, "HTTP 503", id="unavailable"),
    ],
)
@pytest.mark.parametrize(("where", "spare"), QUESTIONS)
def test_a_first_question_that_fails(
    *,
    world: World,
    hub: tuple[FaultyUpstream, dict[str, Any]],
    fault: Fault,
    status: int,
    said: str,
    where: str,
    spare: int,
) -> None:
    upstream, settings = hub
    upstream.fault, upstream.only, upstream.spare = fault, where, spare
    with running_registry(world.settings(**settings)) as client:
        answer = client.get(f"{WEB}/manifests/live")
        assert answer.status_code == status
        assert re.search(said, message(answer)), answer.text
        upstream.fault = Fault.NONE
        upstream.release.set()
        if fault is not Fault.TOO_MANY:
            assert digest_of(client, "live")


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.NONE, Fault.HANG, Fault.STALL)])
@pytest.mark.parametrize(("where", "spare"), QUESTIONS)
def test_an_answer_that_is_no_use_keeps_no_connection(
    hub: tuple[FaultyUpstream, dict[str, Any]], tmp_path: Path, fault: Fault, where: str, spare: int
) -> None:
    """A hundred of them would be all that there are."""
    upstream, settings = hub
    upstream.only = where
    with PunctualClient(limits=httpx2.Limits(max_connections=1), timeout=5) as http:
        floxhub = FloxHubGit(FloxHubUrls.parse(settings["floxhub_url"], None), http)
        for upstream.fault in (fault, fault, Fault.NONE):
            folder, upstream.spare = tmp_path / "fetched", spare
            folder.mkdir()
            with nullcontext() if upstream.fault is Fault.NONE else pytest.raises(RegistryError):
                floxhub.fetch(WEB_NAME, token=None, have=lambda _: False, folder=folder, deadline=Deadline.after(10))
            shutil.rmtree(folder)


@pytest.mark.parametrize("known", [False, True], ids=["nothing-known", "last-known"])
@pytest.mark.parametrize("fault", [Fault.TOO_MANY, Fault.SERVER_ERROR, Fault.UNAVAILABLE])
@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        pytest.param("120", 120, 120, id="seconds"),
        pytest.param(None, 60, 122, id="date"),
        pytest.param("9" * 9, 3600, 3600, id="for-ever"),
    ],
)
def test_floxhub_is_left_alone_as_long_as_it_asks(
    *,
    world: World,
    hub: tuple[FaultyUpstream, dict[str, Any]],
    fault: Fault,
    known: bool,
    retry_after: str | None,
    least: int,
    most: int,
) -> None:
    """By every environment and every credential: it is one FloxHub that has too much to do."""
    upstream, settings = hub
    world.push("acme/api", world.package("hello", "hi"))
    api = WEB.replace("/web", "/api")
    with running_registry(world.settings(**settings)) as client:
        if known:
            digest_of(client, "live")
        upstream.fault = fault
        upstream.retry_after = retry_after or formatdate(time.time() + 120, usegmt=True)
        refused = client.get(f"{api}/manifests/live")
        assert refused.status_code == 503
        assert least <= int(refused.headers["retry-after"]) <= most
        upstream.fault, asked = Fault.NONE, len(upstream.requests)
        for headers in ({}, basic("flox_pat_one"), basic("flox_pat_two")):
            for path in (f"{api}/manifests/live", f"{WEB}/manifests/live", f"{WEB}/tags/list"):
                answer = client.get(path, headers=headers)
                if known and path.startswith(WEB):
                    assert answer.status_code == 200
                    continue
                assert (answer.status_code, least - 60 < int(answer.headers["retry-after"]) <= most) == (503, True)
                assert "it is asked nothing" in message(answer)
        assert len(upstream.requests) == asked


@pytest.mark.parametrize(
    "retry_after",
    [
        "",
        "soon",
        "0",
        "-5",
        "9" * 5000,
        "Sat, 01 Jan 2000 00:00:00 GMT",
        "Sat, 01 Jan 2000 00:00:00 +" + "9" * 20,
        "1.5",
    ],
)
def test_what_is_no_time_to_come_keeps_nobody_from_asking(
    world: World, hub: tuple[FaultyUpstream, dict[str, Any]], retry_after: str
) -> None:
    upstream, settings = hub
    with running_registry(world.settings(**settings)) as client:
        upstream.fault, upstream.retry_after = Fault.UNAVAILABLE, retry_after
        answer = client.get(f"{WEB}/manifests/live")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        upstream.fault = Fault.NONE
        assert digest_of(client, "live")


def test_a_pause_ends(world: World, hub: tuple[FaultyUpstream, dict[str, Any]]) -> None:
    upstream, settings = hub
    with running_registry(world.settings(**settings)) as client:
        upstream.fault, upstream.retry_after = Fault.TOO_MANY, "1"
        assert client.get(f"{WEB}/manifests/live").status_code == 503
        upstream.fault, deadline = Fault.NONE, time.monotonic() + 20
        while (answer := client.get(f"{WEB}/manifests/live")).status_code != 200:
            assert time.monotonic() < deadline, answer.text


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault.GARBAGE, Fault.WEB_PAGE, Fault.CUT, Fault.RESET, Fault.HANG, Fault.STALL),
        *(Fault.TOO_MANY, Fault.SERVER_ERROR, Fault.UNAVAILABLE),
    ],
)
def test_the_last_known_answer_is_served(
    world: World, hub: tuple[FaultyUpstream, dict[str, Any]], fault: Fault
) -> None:
    upstream, settings = hub
    with running_registry(world.settings(**settings)) as client:
        known = digest_of(client, "live")
        upstream.fault = fault
        answer = client.get(f"{WEB}/manifests/live")
        assert (answer.headers["docker-content-digest"], answer.headers["floxbridge-resolution"]) == (known, "stale")
        assert int(answer.headers["age"]) < 60


UNKNOWN = "sha256:" + "0" * 64


@pytest.mark.parametrize("path", ["manifests/7", f"manifests/{UNKNOWN}", f"blobs/{UNKNOWN}", f"referrers/{UNKNOWN}"])
def test_what_the_last_known_answer_does_not_have_floxhub_may_have_by_now(
    world: World, hub: tuple[FaultyUpstream, dict[str, Any]], path: str
) -> None:
    upstream, settings = hub
    with running_registry(world.settings(**settings, pinned_ttl_s=0)) as client:
        digest_of(client, "live")
        known = client.get(f"{WEB}/{path}").status_code
        assert known == (200 if "referrers" in path else 404)
        upstream.fault = Fault.SERVER_ERROR
        # What was proved a moment ago is enough for what is here, and not for saying that something is nowhere.
        silent = client.get(f"{WEB}/{path}")
        assert (silent.status_code, silent.headers["retry-after"]) == (503, "2")
        assert "does not say what is new" in message(silent)
        upstream.fault = Fault.NONE
        assert client.get(f"{WEB}/{path}").status_code == known


def test_nobody_listens_there(world: World) -> None:
    away: dict[str, Any] = {"hub_dir": None, "floxhub_url": "http://127.0.0.1:9"}
    with running_registry(world.settings(**away)) as client:
        answer = client.get(f"{WEB}/manifests/live")
        assert (answer.status_code, "cannot be reached" in message(answer)) == (503, True)
        assert answer.headers["retry-after"]
        assert client.get("/v2/flox/empty/manifests/1.0.0").status_code == 200


def test_a_new_commit_costs_three_round_trips_and_a_known_one_two(
    world: World, hub: tuple[FaultyUpstream, dict[str, Any]]
) -> None:
    upstream, settings = hub
    with running_registry(world.settings(**settings)) as client:
        digest_of(client, "live")
        assert len(upstream.requests) == 3
        digest_of(client, "live")
        assert len(upstream.requests) == 5


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        pytest.param('{"version":3}', "not supported", id="version-of-the-future"),
        pytest.param("{", "not JSON", id="not-json"),
        pytest.param(None, "no metadata.json", id="missing"),
    ],
)
def test_metadata_that_cannot_be_read(world: World, tmp_path: Any, metadata: str | None, said: str) -> None:
    plain_git_repository(world, "acme", "web", {"metadata.json": metadata} if metadata else {"readme": "nothing"})
    with running_registry(world.settings()) as client:
        answer = client.get(f"{WEB}/manifests/live")
    assert (answer.status_code, said in message(answer)) == (404, True), answer.text


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        pytest.param('{"lockfile-version":2}', "lockfile-version 2 is not supported", id="version-of-the-future"),
        pytest.param('{"lockfile-version":0}', "lockfile-version 0 is not supported", id="version-of-the-past"),
        pytest.param("[]", "lockfile", id="not-an-object"),
    ],
)
def test_lockfiles_that_cannot_be_read(world: World, lock: str, said: str) -> None:
    plain_git_repository(world, "acme", "web", {"metadata.json": METADATA, "1/env/manifest.lock": lock})
    with running_registry(world.settings()) as client:
        answer = client.get(f"{WEB}/manifests/live")
    assert (answer.status_code, said in message(answer)) == (404, True), answer.text


METADATA = (
    '{"version":2,"history":[{"kind":"import","author":"alice","hostname":"h","timestamp":1772438400,'
    '"current_generation":"1"}],"total_generations":1}'
)


def plain_git_repository(world: World, owner: str, name: str, files: dict[str, str]) -> None:
    """An owner's repository as plain git commands make it."""
    work, bare = world.root / "work", world.hub / owner / "floxmeta"
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    bare.parent.mkdir(parents=True, exist_ok=True)
    identity = ("-c", "user.name=x", "-c", "user.email=x@y.invalid")
    for command in (
        ("git", "init", "-q", "-b", name, str(work)),
        ("git", "-C", str(work), "add", "."),
        ("git", "-C", str(work), *identity, "commit", "-q", "-m", "by hand"),
        ("git", "clone", "-q", "--bare", str(work), str(bare)),
    ):
        subprocess.run(command, check=True, capture_output=True)


def test_a_repository_of_plain_git_commands_is_resolved(world: World) -> None:
    hello = world.package("hello", "hi")

    lock = lock_of(hello).decode()
    plain_git_repository(world, "acme", "web", {"metadata.json": METADATA, "1/env/manifest.lock": lock})
    with running_registry(world.settings()) as client:
        assert client.get(f"{WEB}/manifests/live").json()["annotations"]["dev.flox.generation"] == "1"

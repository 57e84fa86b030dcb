"""Private environments through the registry: every route by every kind of caller; and no token anywhere to be read.

One owner has a public and a private environment that share all of their bytes. Sharing bytes never grants access.
"""

import base64
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flox_formats.environment import EnvironmentName
from registry_proxy.hub import local
from registry_proxy.hub.privacy import Visibility
from registry_proxy.hub.server import serve_hub_app
from registry_proxy.hub.tokens import HubTokens
from tests.integration.faulty_upstream import Fault, FaultyUpstream, serving
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_pull_api import digest_of, message

PUBLIC, PRIVATE = "/v2/flox/empty/acme/web", "/v2/flox/empty/acme/secret"
RIGHT, EXPIRED, FOREIGN, WRONG = (
    "flox_pat_right_5ec",
    "flox_pat_expired_5ec",
    "flox_pat_foreign_5ec",
    "flox_pat_wrong_5ec",
)
TOKENS = f"{RIGHT} acme\n{EXPIRED} acme expires=2020-01-01T00:00:00Z\n{FOREIGN} somebody\n"


def basic(token: str, user: str = "oauth") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


CALLERS: dict[str, dict[str, str]] = {
    "none": {},
    "docker-hub-password": basic("flox_pat_right_5ec", user="alice"),
    "wrong": basic(WRONG),
    "expired": basic(EXPIRED),
    "foreign": basic(FOREIGN),
    "right": basic(RIGHT),
    "right-bearer": {"Authorization": f"Bearer {RIGHT}"},
    "right-as-floxhub": basic(RIGHT, user="floxhub"),
}
ALLOWED = {"right", "right-bearer", "right-as-floxhub"}
REFUSED_WITH = {"none": 401, "docker-hub-password": 401, "wrong": 401, "expired": 401, "foreign": 404}
"""A token that FloxHub knows, and that does not open the environment, is told that there is none."""


@dataclass
class Hub:
    """A FloxHub with a private environment, what it was sent, and the settings of a registry that asks it."""

    world: World
    upstream: FaultyUpstream
    settings: dict[str, Any]
    authorizations: list[str] = field(default_factory=list)


@pytest.fixture
def hub(world: World) -> Iterator[Hub]:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    world.push("acme/secret", hello)
    local.set_visibility(world.hub, EnvironmentName("acme", "secret"), Visibility.PRIVATE)
    tokens = world.root / "tokens"
    tokens.write_text(TOKENS)
    tokens.chmod(0o600)
    app = serve_hub_app(world.hub, tokens=HubTokens(tokens, problem=print))
    authorizations = list[str]()

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        authorizations.extend(value.decode() for name, value in scope["headers"] if name == b"authorization")
        await app(scope, receive, send)

    upstream = FaultyUpstream(listening)
    with serving(upstream) as url:
        yield Hub(world, upstream, {"hub_dir": None, "floxhub_url": url}, authorizations)
        upstream.release.set()


def paths_of(client: httpx2.Client, repository: str) -> dict[str, str]:
    """A path of every route, by digest where there is one, as someone who may see it all finds them."""
    headers = CALLERS["right"]
    index = client.get(f"{repository}/manifests/live", headers=headers)
    assert index.status_code == 200, index.text
    platform = index.json()["manifests"][0]["digest"]
    manifest = client.get(f"{repository}/manifests/{platform}", headers=headers).json()
    (closure,) = client.get(f"{repository}/referrers/{platform}", headers=headers).json()["manifests"]
    artifact = client.get(f"{repository}/manifests/{closure['digest']}", headers=headers).json()
    return {
        **paths_of_index_referrers(client, repository, index.headers["docker-content-digest"]),
        "tag": f"{repository}/manifests/live",
        "number": f"{repository}/manifests/1",
        "index": f"{repository}/manifests/{index.headers['docker-content-digest']}",
        "manifest": f"{repository}/manifests/{platform}",
        "config": f"{repository}/blobs/{manifest['config']['digest']}",
        "layer": f"{repository}/blobs/{manifest['layers'][0]['digest']}",
        "lockfile": f"{repository}/blobs/{index.json()['annotations']['dev.flox.lockfile']}",
        "tags": f"{repository}/tags/list",
        "referrers": f"{repository}/referrers/{platform}",
        "closure": f"{repository}/manifests/{closure['digest']}",
        "closure-document": f"{repository}/blobs/{artifact['config']['digest']}",
        "nar": f"{repository}/blobs/{artifact['layers'][1]['digest']}",
    }


def paths_of_index_referrers(client: httpx2.Client, repository: str, index: str) -> dict[str, str]:
    """The list, and each artifact in it with its file: lockfile, bills of materials, audit trail."""
    listing = f"{repository}/referrers/{index}"
    paths = {"index-referrers": listing}
    for referrer in client.get(listing, headers=CALLERS["right"]).json()["manifests"]:
        title = referrer["annotations"]["org.opencontainers.image.title"]
        paths[f"{title}-manifest"] = f"{repository}/manifests/{referrer['digest']}"
        (file,) = client.get(paths[f"{title}-manifest"], headers=CALLERS["right"]).json()["layers"]
        paths[f"{title}-file"] = f"{repository}/blobs/{file['digest']}"
    assert len(paths) == 9
    return paths


def told_to_caches(answer: httpx2.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("cache-control"), answer.headers.get("vary")


NOT_SHARED = ("private, no-cache", "Authorization")


@pytest.mark.parametrize("knows_it_all", [True, False], ids=["after-someone-who-may", "first"])
def test_every_route_by_every_caller(hub: Hub, knows_it_all: bool) -> None:
    with running_registry(hub.world.settings("teller", **hub.settings)) as teller:
        private, public = paths_of(teller, PRIVATE), paths_of(teller, PUBLIC)
    remembered = {"resolve_ttl_s": 600.0, "missing_ttl_s": 600.0}  # a question for each caller, and not for each path
    with running_registry(hub.world.settings("asked", **hub.settings, **remembered)) as client:
        if knows_it_all:
            paths_of(client, PRIVATE)
        for caller, headers in CALLERS.items():
            for route, path in private.items():
                answer = client.get(path, headers=headers)
                wanted = 200 if caller in ALLOWED else REFUSED_WITH[caller]
                assert answer.status_code == wanted, (caller, route, answer.text)
                if wanted == 401:
                    assert answer.headers["www-authenticate"].startswith("Basic "), (caller, route)
                assert told_to_caches(answer) == NOT_SHARED, (caller, route)
                assert client.head(path, headers=headers).status_code == wanted, (caller, route)
            for route, path in public.items():
                answer = client.get(path, headers=headers)
                assert (answer.status_code, told_to_caches(answer)) == (200, NOT_SHARED), (caller, route)
        known = client.get(private["tag"], headers={"If-None-Match": "*", **CALLERS["right"]})
        assert (known.status_code, told_to_caches(known)) == (304, NOT_SHARED)
        assert paths_of(client, PUBLIC)["nar"].rpartition("/")[2] == private["nar"].rpartition("/")[2]


def test_bytes_of_a_private_environment_are_not_reached_through_a_public_one(hub: Hub) -> None:
    with running_registry(hub.world.settings(**hub.settings)) as client:
        private = paths_of(client, PRIVATE)
        paths_of(client, PUBLIC)
        shared = {"tag", "number", "tags", "layer", "lockfile", "manifest.lock-file", "closure-document", "nar"}
        shared |= {"audit-trail.jsonl-file"}  # the two have one history
        for route in private.keys() - shared - {"referrers", "index-referrers"}:
            for headers in CALLERS.values():
                answer = client.get(private[route].replace("/secret/", "/web/"), headers=headers)
                assert answer.status_code == 404, route
        for route in ("referrers", "index-referrers"):
            assert client.get(private[route].replace("/secret/", "/web/")).json()["manifests"] == [], route


@pytest.mark.parametrize("asked_before", [True, False], ids=["that-is-here", "that-nobody-fetched"])
def test_a_package_of_a_private_environment_is_not_reached_through_a_public_one(hub: Hub, asked_before: bool) -> None:
    hub.world.push("acme/secret", hub.world.package("own", "mine"))
    with running_registry(hub.world.settings(**hub.settings)) as client:
        nar = paths_of(client, PRIVATE)["nar"]
        assert nar != paths_of(client, PUBLIC)["nar"].replace("/web/", "/secret/")
        if asked_before:
            assert client.get(nar, headers=basic(RIGHT)).status_code == 200
        for caller, headers in CALLERS.items():
            answer = client.get(nar.replace("/secret/", "/web/"), headers=headers)
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "BLOB_UNKNOWN"), caller
            assert client.head(nar.replace("/secret/", "/web/"), headers=headers).status_code == 404, caller
        assert client.get(nar, headers=basic(RIGHT)).status_code == 200


def test_a_rejected_token_is_told_from_a_missing_environment(hub: Hub) -> None:
    with running_registry(hub.world.settings(**hub.settings)) as client:
        assert "token rejected" in message(client.get(f"{PRIVATE}/manifests/live", headers=basic(WRONG)))
        assert "private" in message(client.get(f"{PRIVATE}/manifests/live"))
        nothing = client.get("/v2/flox/empty/acme/nothing/manifests/live", headers=basic(RIGHT))
        assert (nothing.status_code, "no environment acme/nothing" in message(nothing)) == (404, True)


@pytest.mark.parametrize("caller", ["none", "wrong", "foreign"])
def test_mirror_traffic_is_never_challenged(hub: Hub, caller: str) -> None:
    """On no route, by tag or by digest."""
    with running_registry(hub.world.settings(**hub.settings)) as client:
        for route, path in paths_of(client, PRIVATE).items():
            for method in ("GET", "HEAD"):
                answer = client.request(method, f"{path}?ns=docker.io", headers=CALLERS[caller])
                assert (answer.status_code, "www-authenticate" in answer.headers) == (404, False), route


def test_floxhub_is_shown_floxhub_tokens_only(hub: Hub) -> None:
    others = [
        basic("hunter2", user="alice"),
        {"Authorization": "Bearer a-docker-hub-token"},
        {"Authorization": "Negotiate abc"},
    ]
    with running_registry(hub.world.settings(**hub.settings)) as client:
        for headers in others:
            assert client.get(f"{PRIVATE}/manifests/live", headers=headers).status_code == 401
        assert hub.authorizations == []
        assert client.get(f"{PUBLIC}/manifests/live", headers=basic(RIGHT)).status_code == 200
        assert hub.authorizations == [], "as git does it: a token is shown to a FloxHub that asks for one"
        assert client.get(f"{PRIVATE}/manifests/live", headers=basic(RIGHT)).status_code == 200
    assert set(hub.authorizations) == {basic(RIGHT)["Authorization"]}


def test_the_clusters_token_stands_in_where_a_request_brings_none(hub: Hub) -> None:
    token = hub.world.root / "cluster-token"
    token.write_text(WRONG)
    with running_registry(hub.world.settings(floxhub_token_file=token, **hub.settings)) as client:
        assert client.get(f"{PRIVATE}/manifests/live").status_code == 401
        assert client.get(f"{PUBLIC}/manifests/live").status_code == 200
        token.write_text(RIGHT)
        deadline = time.monotonic() + 20
        while (answer := client.get(f"{PRIVATE}/manifests/live")).status_code != 200:
            assert time.monotonic() < deadline, answer.text
        assert client.get(f"{PRIVATE}/manifests/live?ns=docker.io").status_code == 200
        assert client.get(f"{PRIVATE}/manifests/live", headers=basic(FOREIGN)).status_code == 404


def test_case_is_found_among_public_and_among_private_ones(hub: Hub) -> None:
    hub.world.push("acme/Mixed", hub.world.package("hello", "hi"))
    with running_registry(hub.world.settings(**hub.settings)) as client:
        path = "/v2/flox/empty/acme/mixed/manifests/live"
        for headers in ({}, basic(RIGHT), basic(FOREIGN)):
            answer = client.get(path, headers=headers)
            assert answer.json()["annotations"]["dev.flox.environment"] == "acme/Mixed"
        local.set_visibility(hub.world.hub, EnvironmentName("acme", "Mixed"), Visibility.PRIVATE)
        statuses = [client.get(path, headers=headers).status_code for headers in ({}, basic(RIGHT), basic(FOREIGN))]
        assert statuses == [401, 200, 404]
    with running_registry(hub.world.settings("another", **hub.settings)) as client:
        statuses = [client.get(path, headers=headers).status_code for headers in ({}, basic(RIGHT), basic(FOREIGN))]
        assert statuses == [401, 200, 404]


def test_an_environment_that_becomes_private_is_no_longer_shown(hub: Hub) -> None:
    with running_registry(hub.world.settings(**hub.settings)) as client:
        digest = digest_of(client, "live", PUBLIC)
        local.set_visibility(hub.world.hub, EnvironmentName("acme", "web"), Visibility.PRIVATE)
        assert client.get(f"{PUBLIC}/manifests/live").status_code == 401
        assert client.get(f"{PUBLIC}/manifests/{digest}").status_code == 401
        assert client.get(f"{PUBLIC}/manifests/{digest}", headers=basic(RIGHT)).status_code == 200


@pytest.mark.parametrize("asked", ["mixed", "Mixed", "lower"])
@pytest.mark.parametrize("restarted", [False, True], ids=["at-once", "after-a-restart"])
def test_what_is_no_longer_shown_is_not_shown_by_a_restart_either(hub: Hub, asked: str, restarted: bool) -> None:
    """`restarted` before it became private, so that what is forgotten was read from the disk."""
    for name in ("Mixed", "lower"):
        hub.world.push(f"acme/{name}", hub.world.package("hello", "hi"))
    path, settings = f"/v2/flox/empty/acme/{asked}/manifests/live", hub.world.settings(**hub.settings)
    with running_registry(settings) as client:
        assert client.get(path).status_code == 200
        if not restarted:
            hide(hub, asked)
            assert client.get(path).status_code == 401
    if restarted:
        hide(hub, asked)
        with running_registry(settings) as client:
            assert client.get(path).status_code == 401
    hub.upstream.fault = Fault.SERVER_ERROR
    with running_registry(settings) as client:
        assert [client.get(path).status_code, client.get(path.lower()).status_code] == [503, 503]


@pytest.mark.parametrize("fault", [Fault.TOO_MANY, Fault.SERVER_ERROR, Fault.GARBAGE])
def test_a_token_that_is_revoked_is_shown_nothing_whatever_becomes_of_asking_without(hub: Hub, fault: Fault) -> None:
    with running_registry(hub.world.settings(**hub.settings)) as client:
        assert client.get(f"{PRIVATE}/manifests/live", headers=basic(RIGHT)).status_code == 200
        (hub.world.root / "tokens").write_text("# nobody\n")
        for _ in range(2):
            # The question without the token, then with it; when it is asked without it again, FloxHub fails.
            hub.upstream.fault, hub.upstream.only, hub.upstream.spare = fault, "info/refs", 2
            hub.upstream.retry_after = "0"
            answer = client.get(f"{PRIVATE}/manifests/live", headers=basic(RIGHT))
            assert (answer.status_code, "token rejected" in message(answer)) == (401, True), answer.text


def test_a_disk_that_fails_keeps_nothing_shown(hub: Hub) -> None:
    with running_registry(hub.world.settings(**hub.settings)) as client:
        digest = digest_of(client, "live", PUBLIC)
        spoilt = hub.world.root / "state" / "floxhub" / ".staging"
        shutil.rmtree(spoilt)
        spoilt.write_text("not a folder")
        fresh = client.get(f"{PUBLIC}/manifests/live")
        assert (fresh.headers["docker-content-digest"], fresh.headers["floxbridge-resolution"]) == (digest, "fresh")
        hide(hub, "web")
        assert [client.get(f"{PUBLIC}/manifests/{what}").status_code for what in ("live", digest)] == [401, 401]


def test_invented_tokens_cost_a_public_environment_nothing(hub: Hub) -> None:
    settings = hub.world.settings(**hub.settings, resolve_ttl_s=60.0)
    live = f"{PUBLIC}/manifests/live"
    with running_registry(settings) as client:
        digest = digest_of(client, "live", PUBLIC)
        asked = len(hub.upstream.requests)
        for number in range(70):
            answer = client.get(live, headers=basic(f"flox_pat_invented_{number}"))
            assert (answer.status_code, answer.headers["floxbridge-resolution"]) == (200, "cached")
        assert len(hub.upstream.requests) == asked
    kept = [path.name for path in (hub.world.root / "state" / "floxhub" / "acme" / "web").glob("current.*")]
    assert kept == ["current.public"]
    hub.upstream.fault = Fault.SERVER_ERROR
    with running_registry(settings) as client:
        for headers in ({}, basic(RIGHT), basic("flox_pat_renewed")):
            answer = client.get(live, headers=headers)
            assert (answer.status_code, answer.headers["docker-content-digest"]) == (200, digest)


def test_a_token_is_not_shown_for_a_public_environment_whatever_the_spelling(hub: Hub) -> None:
    hub.world.push("other/Mixed", hub.world.package("hello", "hi"))
    with running_registry(hub.world.settings(**hub.settings)) as client:
        for _ in range(3):
            answer = client.get("/v2/flox/empty/other/mixed/manifests/live", headers=basic(RIGHT))
            assert (answer.status_code, answer.headers["floxbridge-resolution"]) == (200, "fresh")
    assert hub.authorizations == []


@pytest.mark.parametrize(
    ("challenges", "status"),
    [
        pytest.param(['Basic realm="FloxHub"'], 200, id="plain"),
        pytest.param(["BASIC"], 200, id="nothing-more"),
        pytest.param(["Negotiate", 'Basic realm="x"'], 200, id="two-lines"),
        pytest.param(['Bearer realm="a, b",scope="c" , basic realm="x"'], 200, id="one-line"),
        pytest.param(["Negotiate"], 401, id="another"),
        pytest.param(['Bearer realm="to, Basic users"'], 401, id="in-quotes"),
        pytest.param(['Digest realm="x", basic=1'], 401, id="a-parameter"),
        pytest.param(["Basically"], 401, id="a-longer-word"),
        pytest.param([], 401, id="none"),
    ],
)
def test_a_token_is_shown_to_who_asks_for_one_as_basic(hub: Hub, challenges: list[str], status: int) -> None:
    """Joined or not, and whatever else FloxHub's proxy takes."""

    async def asking(scope: Any, receive: Any, send: Any) -> None:
        async def challenge(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                others = [pair for pair in message["headers"] if pair[0].lower() != b"www-authenticate"]
                asked = [(b"www-authenticate", text.encode()) for text in challenges]
                message = {**message, "headers": [*others, *asked]}
            await send(message)

        await hub.upstream(scope, receive, challenge)

    with serving(asking) as url, running_registry(hub.world.settings(hub_dir=None, floxhub_url=url)) as client:
        assert client.get(f"{PRIVATE}/manifests/live", headers=basic(RIGHT)).status_code == status
    assert bool(hub.authorizations) == (status == 200)


def hide(hub: Hub, name: str) -> None:
    exact = EnvironmentName("acme", "Mixed" if name == "mixed" else name)
    local.set_visibility(hub.world.hub, exact, Visibility.PRIVATE)


def test_while_floxhub_is_away_each_sees_what_it_was_shown_also_after_a_restart(hub: Hub) -> None:
    with running_registry(hub.world.settings(**hub.settings)) as client:
        paths = paths_of(client, PRIVATE)
    hub.upstream.fault = Fault.SERVER_ERROR
    with running_registry(hub.world.settings(**hub.settings)) as client:
        for route, path in paths.items():
            answer = client.get(path, headers=basic(RIGHT))
            told = (
                "stale" if route in ("tag", "tags", "index-referrers") else "cached"
            )  # of the rest a minute's proof will do
            assert (answer.status_code, answer.headers["floxbridge-resolution"]) == (200, told), route
            assert int(answer.headers["age"]) >= 0, route
            for other in ({}, basic(FOREIGN), basic(WRONG)):
                assert client.get(path, headers=other).status_code == 503, route


def test_offline_floxhub_is_asked_nothing_on_any_route(hub: Hub) -> None:
    with running_registry(hub.world.settings(**hub.settings)) as client:
        private, public = paths_of(client, PRIVATE), paths_of(client, PUBLIC)
    asked = len(hub.upstream.requests)
    with running_registry(hub.world.settings(**hub.settings, offline=True)) as client:
        for path in (*private.values(), *public.values(), f"{PUBLIC}/manifests/9", "/v2/flox/empty/acme/x/tags/list"):
            known_to_all = path in public.values()
            for caller, headers in CALLERS.items():
                status = 200 if known_to_all or (path in private.values() and caller in ALLOWED) else 503
                assert client.get(path, headers=headers).status_code == status, (caller, path)
    assert len(hub.upstream.requests) == asked


def test_no_token_is_left_anywhere(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    token = hub.world.root / "cluster-token"
    token.write_text(RIGHT)
    said = list[str]()
    with running_registry(hub.world.settings(floxhub_token_file=token, access_log=True, **hub.settings)) as client:
        for headers in CALLERS.values():
            for path in (f"{PRIVATE}/manifests/live", f"{PRIVATE}/manifests/9", f"{PUBLIC}/tags/list"):
                answer = client.get(path, headers=headers)
                said += [answer.text, str(answer.headers)]
        said.append(client.get("/metrics").text)
        said += [Path(f"/proc/{process}/cmdline").read_text() for process in processes()]
    said += [path.read_bytes().decode("latin-1") for path in files(hub.world.root / "state")]
    said += [str(path) for path in files(hub.world.root / "state")]
    said += capfd.readouterr()
    secrets = [RIGHT, WRONG, FOREIGN, EXPIRED]
    secrets += [base64.b64encode(f"oauth:{secret}".encode()).decode() for secret in secrets]
    assert [secret for secret in secrets for text in said if secret in text] == []


def processes() -> list[str]:
    own = str(os.getpid())
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    return [own, *(child for child in children if Path(f"/proc/{child}/cmdline").exists())]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]

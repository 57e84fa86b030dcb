"""The OCI pull API over a real port, on real git repositories: what a client sees (design sections 4 and 5)."""

import json
import shutil
import subprocess
from typing import Any

import httpx2
import pytest

from flox_formats.closure import ARTIFACT_TYPE, ClosureDocument
from flox_formats.digest import Digest
from flox_formats.lockfile import Lockfile
from registry_proxy.images.content import INDEX, MANIFEST
from tests.integration.registry_rig import World, lock_of, running_registry

WEB = "/v2/flox/empty/acme/web"


def digest_of(client: httpx2.Client, reference: str, repository: str = WEB) -> str:
    answer = client.get(f"{repository}/manifests/{reference}")
    assert answer.status_code == 200, answer.text
    return answer.headers["docker-content-digest"]


def message(answer: httpx2.Response) -> str:
    (error,) = answer.json()["errors"]
    assert error["code"].isupper()
    return str(error["message"])


@pytest.mark.parametrize(("query", "challenged"), [("", True), ("?ns=docker.io", False)])
def test_version(world: World, query: str, challenged: bool) -> None:
    with running_registry(world.settings()) as client:
        answer = client.get(f"/v2/{query}")
    assert (answer.status_code, answer.headers["docker-distribution-api-version"]) == (200, "registry/2.0")
    assert answer.headers.get("www-authenticate", "").startswith("Basic ") is challenged


def test_an_image_is_pulled_by_tag_then_by_digest(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        tagged = client.get(f"{WEB}/manifests/live")
        assert tagged.headers["content-type"] == INDEX
        assert tagged.headers["docker-content-digest"] == str(Digest.of(tagged.content))
        for platform in tagged.json()["manifests"]:
            manifest = client.get(f"{WEB}/manifests/{platform['digest']}")
            assert manifest.headers["content-type"] == MANIFEST
            document = manifest.json()
            for descriptor in (document["config"], *document["layers"]):
                blob = client.get(f"{WEB}/blobs/{descriptor['digest']}")
                assert (str(Digest.of(blob.content)), len(blob.content)) == (descriptor["digest"], descriptor["size"])
        lockfile = client.get(f"{WEB}/blobs/{tagged.json()['annotations']['dev.flox.lockfile']}")
        assert Lockfile.parse(lockfile.content).packages[0].install_id == "hello"


def test_tags_of_one_generation_have_one_digest(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        assert len({digest_of(client, tag) for tag in ("live", "latest", "1")}) == 1


def test_a_push_moves_live_and_a_switch_moves_it_back(world: World) -> None:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    with running_registry(world.settings()) as client:
        first = digest_of(client, "live")
        world.push("acme/web", hello, world.package("more", "there"))
        second = digest_of(client, "live")
        assert second not in (first,)
        assert digest_of(client, "2") == second
        world.switch("acme/web", 1)
        assert digest_of(client, "live") == first


def test_two_servers_and_a_restart_agree_on_every_digest(world: World) -> None:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    world.push("acme/web", hello, world.package("more", "there"))
    with running_registry(world.settings("one")) as one, running_registry(world.settings("two")) as two:
        digests = [digest_of(one, tag) for tag in ("1", "2", "live")]
        assert digests == [digest_of(two, tag) for tag in ("1", "2", "live")]
    with running_registry(world.settings("one")) as restarted:
        assert digests == [digest_of(restarted, tag) for tag in ("1", "2", "live")]


def test_a_server_answers_digests_that_it_never_saw(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings("one")) as one:
        index = one.get(f"{WEB}/manifests/live").json()
        platform = one.get(f"{WEB}/manifests/{index['manifests'][0]['digest']}").json()
        (closure,) = one.get(f"{WEB}/referrers/{index['manifests'][0]['digest']}").json()["manifests"]
        artifact = one.get(f"{WEB}/manifests/{closure['digest']}").json()
    world.push("acme/web", world.package("more", "there"))
    for path in (
        f"manifests/{index['manifests'][0]['digest']}",
        f"blobs/{platform['config']['digest']}",
        f"blobs/{index['annotations']['dev.flox.lockfile']}",
        f"manifests/{closure['digest']}",
        f"blobs/{artifact['config']['digest']}",
        f"blobs/{artifact['layers'][1]['digest']}",
    ):
        shutil.rmtree(world.root / "fresh", ignore_errors=True)
        with running_registry(world.settings("fresh")) as fresh:
            answer = fresh.get(f"{WEB}/{path}")
            assert answer.status_code == 200, path
            assert str(Digest.of(answer.content)) == path.rpartition("/")[2]


def test_what_was_learnt_survives_a_restart_without_floxhub(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        digest = digest_of(client, "live")
    away: dict[str, Any] = {
        "hub_dir": None,
        "floxhub_url": "http://floxhub.localhost",
        "floxhub_git_url": "http://127.0.0.1:9/git",
    }
    with running_registry(world.settings(**away)) as client:
        answer = client.get(f"{WEB}/manifests/live")
        assert (answer.status_code, answer.headers["docker-content-digest"]) == (200, digest)
        assert answer.headers["floxbridge-resolution"] == "stale"
        assert digest_of(client, digest) == digest


def test_a_state_that_lost_its_content_makes_it_again(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        index = client.get(f"{WEB}/manifests/live").json()
        shutil.rmtree(world.root / "state" / "content" / "sha256")
        assert client.get(f"{WEB}/manifests/{index['manifests'][0]['digest']}").status_code == 200
        assert client.get(f"{WEB}/blobs/{index['annotations']['dev.flox.lockfile']}").status_code == 200


def test_the_short_road_for_fresh_tags_answers_as_the_long_one(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    changing = {"date", "x-request-id", "age"}
    with running_registry(world.settings(resolve_ttl_s=60)) as client:
        for method in ("GET", "HEAD"):
            for query in ("", "?ns=docker.io"):
                long = client.request(method, f"{WEB}/manifests/live{query}", headers={"If-None-Match": '"another"'})
                short = client.request(method, f"{WEB}/manifests/live{query}")
                again = client.request(method, f"{WEB}/manifests/live{query}")
                assert long.content == short.content == again.content
                assert (long.headers["cache-control"], long.headers["vary"]) == ("private, no-cache", "Authorization")
                known = {name: value for name, value in long.headers.items() if name not in changing}
                for answer in (short, again):
                    told = {name: value for name, value in answer.headers.items() if name not in changing}
                    assert list({**known, "floxbridge-resolution": "cached"}.items()) == list(told.items())


def test_head_has_the_headers_of_get_and_no_body(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        digest = client.get(f"{WEB}/manifests/live").json()["annotations"]["dev.flox.lockfile"]
        for path in (f"{WEB}/manifests/live", f"{WEB}/blobs/{digest}", "/v2/flox/empty/manifests/1.0.0"):
            got, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (200, b"")
            for name in ("content-length", "content-type", "docker-content-digest", "etag"):
                assert head.headers[name] == got.headers[name]


def test_conditional_requests(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        etag = client.get(f"{WEB}/manifests/live").headers["etag"]
        assert client.get(f"{WEB}/manifests/live", headers={"If-None-Match": etag}).status_code == 304
        assert client.get(f"{WEB}/manifests/live", headers={"If-None-Match": '"other"'}).status_code == 200


def test_blobs_in_part(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        path = f"{WEB}/blobs/{client.get(f'{WEB}/manifests/live').json()['annotations']['dev.flox.lockfile']}"
        whole = client.get(path).content
        part = client.get(path, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
        assert client.get(path, headers={"Range": "bytes=999999-"}).status_code == 416


def test_the_generic_image_has_any_tag(world: World) -> None:
    with running_registry(world.settings()) as client:
        digests = {digest_of(client, tag, "/v2/flox/empty") for tag in ("1.0.0", "latest", "anything")}
        (digest,) = digests
        for platform in client.get(f"/v2/flox/empty/manifests/{digest}").json()["manifests"]:
            manifest = client.get(f"/v2/flox/empty/manifests/{platform['digest']}").json()
            for descriptor in (manifest["config"], *manifest["layers"]):
                assert client.get(f"/v2/flox/empty/blobs/{descriptor['digest']}").status_code == 200


def test_tags_in_pages(world: World) -> None:
    hello = world.package("hello", "hi")
    for text in ("a", "b", "c"):
        world.push("acme/web", hello, world.package(text, text))
    with running_registry(world.settings()) as client:
        assert client.get(f"{WEB}/tags/list").json() == {
            "name": "flox/empty/acme/web",
            "tags": ["1", "2", "3", "latest", "live"],
        }
        found, path = [], f"{WEB}/tags/list?n=2"
        while path:
            answer = client.get(path)
            found.append(answer.json()["tags"])
            path = answer.links.get("next", {}).get("url", "")
        assert found == [["1", "2"], ["3", "latest"], ["live"]]
        assert client.get(f"{WEB}/tags/list?n=x").status_code == 400


def test_names_match_without_regard_to_case(world: World) -> None:
    world.push("Acme/Web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        exact = client.get("/v2/flox/empty/Acme/Web/manifests/live")
        lower = client.get("/v2/flox/empty/Acme/web/manifests/live")
        assert exact.content == lower.content
        assert exact.json()["annotations"]["dev.flox.environment"] == "Acme/Web"
        digest = exact.headers["docker-content-digest"]
        assert client.get(f"/v2/flox/empty/Acme/web/manifests/{digest}").status_code == 200
        world.push("Acme/wEB", world.package("hello", "hi"))
        ambiguous = client.get("/v2/flox/empty/Acme/web/manifests/live")
    assert ambiguous.status_code == 404
    assert "Acme/Web and Acme/wEB" in message(ambiguous)


def test_the_closure_is_a_referrer_of_the_platform_manifest(world: World) -> None:
    base = world.package("base", "below")
    world.push("acme/web", world.package("hello", "hi", base))
    with running_registry(world.settings()) as client:
        index = client.get(f"{WEB}/manifests/live")
        platform = index.json()["manifests"][0]
        answer = client.get(f"{WEB}/referrers/{platform['digest']}", params={"artifactType": ARTIFACT_TYPE})
        assert (answer.headers["content-type"], answer.headers["oci-filters-applied"]) == (INDEX, "artifactType")
        (descriptor,) = answer.json()["manifests"]
        artifact = client.get(f"{WEB}/manifests/{descriptor['digest']}").json()
        assert artifact["subject"]["digest"] == platform["digest"]
        document = ClosureDocument.parse(client.get(f"{WEB}/blobs/{artifact['config']['digest']}").content)
        assert [root.install_id for root in document.roots] == ["hello"]
        assert [path.store_path.name for path in document.paths if path.store_path == base] == ["base"]
        assert {layer["digest"] for layer in artifact["layers"][1:]} == {str(path.blob) for path in document.paths}
        for path in document.paths:
            nar = client.get(f"{WEB}/blobs/{path.blob}")
            assert (Digest.of(nar.content), len(nar.content)) == (path.blob, path.blob_size)
        other = client.get(f"{WEB}/referrers/{platform['digest']}", params={"artifactType": "other/type"})
        assert other.json()["manifests"] == []
        assert client.get(f"{WEB}/referrers/{Digest.of(b'')}").json()["manifests"] == []


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        pytest.param(
            "acme/nothing/manifests/live", 404, "no environment acme/nothing: check", id="no-such-environment"
        ),
        pytest.param("nobody/web/manifests/live", 404, "no owner", id="no-such-owner"),
        pytest.param("nobody/web/tags/list", 404, "annotation flox.dev/environment alone", id="owner-with-capitals"),
        pytest.param("acme/web/manifests/7", 404, "no generation 7: it has 1 to 1", id="no-such-generation"),
        pytest.param("acme/web/manifests/v1", 404, "live (or latest)", id="no-such-tag"),
        pytest.param("acme/web/manifests/sha256:abc", 400, "digest", id="digest-that-is-not-one"),
        pytest.param(f"acme/web/manifests/{Digest.of(b'x')}", 404, "no generation of acme/web", id="unknown-manifest"),
        pytest.param(f"acme/web/blobs/{Digest.of(b'x')}", 404, "no generation of acme/web", id="unknown-blob"),
        pytest.param("acme/web/blobs/sha256:abc", 400, "digest", id="blob-digest-that-is-not-one"),
        pytest.param("acme/we%20b/manifests/live", 400, "flox/empty/<owner>/<name>", id="space"),
        pytest.param("acme/..%2f..%2fetc/manifests/live", 400, "%2F", id="way-up"),
        pytest.param("acme/" + "a" * 300 + "/manifests/live", 400, "255", id="too-long"),
        pytest.param("acme/nolock/manifests/live", 404, "no manifest.lock", id="lockfile-missing"),
        pytest.param(
            "acme/mac/manifests/live", 404, "not locked for Linux, only for aarch64-darwin", id="not-for-linux"
        ),
    ],
)
def test_bad_requests_get_one_clear_sentence(world: World, path: str, status: int, said: str) -> None:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    world.push("acme/mac", lock=lock_of(hello, systems=("aarch64-darwin",)))
    local_push_without_lock(world)
    with running_registry(world.settings()) as client:
        answer = client.get(f"/v2/flox/empty/{path}")
    assert answer.status_code == status
    assert said in message(answer)


def local_push_without_lock(world: World) -> None:
    from flox_formats.environment import EnvironmentName
    from registry_proxy.hub import local
    from tests.integration.registry_rig import CHANGE

    local.push(world.hub, EnvironmentName("acme", "nolock"), b"version = 1\n", None, change=CHANGE)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/v2/library/busybox/manifests/latest?ns=docker.io", 404, id="another-repository"),
        pytest.param("/v2/flox/empty/manifests/1.0.0?ns=docker.io", 200, id="mirror-of-docker-hub"),
        pytest.param("/v2/flox/empty/manifests/1.0.0?ns=quay.io", 404, id="mirror-of-another-registry"),
        pytest.param("/v2/flox/empty/manifests/1.0.0", 200, id="asked-directly"),
        pytest.param("/nothing/here", 404, id="no-route"),
    ],
)
def test_whose_mirror_this_is(world: World, path: str, status: int) -> None:
    with running_registry(world.settings()) as client:
        assert client.get(path).status_code == status


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
def test_writes_are_refused(world: World, method: str) -> None:
    with running_registry(world.settings()) as client:
        for path in (f"{WEB}/manifests/live", f"{WEB}/blobs/uploads/", f"{WEB}/blobs/{Digest.of(b'')}"):
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (405, "UNSUPPORTED")


def test_health(world: World) -> None:
    with running_registry(world.settings()) as client:
        assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 200)
        shutil.rmtree(world.root / "state")
        (world.root / "state").write_text("not a folder")
        unready = client.get("/readyz")
        assert (unready.status_code, unready.headers["retry-after"]) == (503, "10")
        (world.root / "state").unlink()
        assert client.get("/readyz").status_code == 200


def test_the_same_lockfile_in_two_environments_gives_two_images_of_one_lockfile(world: World) -> None:
    hello = world.package("hello", "hi")
    for environment in ("acme/web", "acme/api"):
        world.push(environment, hello)
    with running_registry(world.settings()) as client:
        web, api = (client.get(f"/v2/flox/empty/acme/{name}/manifests/live").json() for name in ("web", "api"))
        assert web["annotations"]["dev.flox.lockfile"] == api["annotations"]["dev.flox.lockfile"]
        assert json.dumps(web) != json.dumps(api)


def test_more_environments_are_asked_for_than_images_are_remembered(world: World) -> None:
    """What is remembered of most is their index alone; all else of them is found again."""
    world.push("acme/web-0", world.package("hello", "hi"))
    names = [f"web-{number}" for number in range(40)]
    repository = world.hub / "acme" / "floxmeta"
    for name in names[1:]:
        subprocess.run(["git", "-C", repository, "branch", name, "web-0"], check=True)
    with running_registry(world.settings()) as client:
        digests = [digest_of(client, "live", f"/v2/flox/empty/acme/{name}") for name in names]
        assert len(set(digests)) == len(names)
        for name, digest in zip(names, digests, strict=True):
            home = f"/v2/flox/empty/acme/{name}"
            assert digest_of(client, "1", home) == digest
            assert client.get(f"{home}/referrers/{digest}").json()["manifests"]


def test_a_digest_that_nobody_has_is_looked_for_once(world: World) -> None:
    """Of more generations than images are remembered. What would be read to make them again is taken away meanwhile."""
    hello = world.package("hello", "hi")
    for _ in range(40):
        world.push("acme/web", hello)
    settings = world.settings(resolve_ttl_s=3600)
    with running_registry(settings) as client:
        known = digest_of(client, "3")
        invented = [Digest.of(b"%d" % number) for number in range(20)]
        assert client.get(f"{WEB}/manifests/{invented[0]}").status_code == 404
        for folder in (world.root / "state" / "floxhub" / "acme" / "web").iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
        for digest in invented:
            for route in ("manifests", "blobs"):
                answer = client.get(f"{WEB}/{route}/{digest}")
                assert answer.status_code == 404, answer.text
            assert client.get(f"{WEB}/referrers/{digest}").json()["manifests"] == []
        assert client.get(f"{WEB}/manifests/{known}").status_code == 200

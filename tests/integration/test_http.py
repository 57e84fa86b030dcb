"""What HTTP and the distribution specification promise of each answer, whatever it is about: methods, conditions,
parts, headers. RFC 9110; https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles

from flox_formats.digest import Digest
from registry_proxy.images.content import LOCKFILE
from tests.conftest import needs
from tests.integration.faulty_upstream import Fault, FaultyUpstream, serving
from tests.integration.large_package import large_package
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_closure_faults import nars
from tests.integration.test_observability import Scraped
from tests.integration.test_pull_api import WEB, digest_of, message

EMPTY = "/v2/flox/empty"
UNKNOWN = Digest.of(b"unknown")
SHA512 = "sha512:" + "0" * 128
API_VERSION = "docker-distribution-api-version"
CHANGING = {"date", "x-request-id", "age"}

Places = dict[str, str]
"""Paths of what a registry has, by a word."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    needs("git")
    world = World.make(tmp_path_factory.mktemp("http"))
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings(resolve_ttl_s=60)) as client:
        yield client


@pytest.fixture(scope="module")
def places(registry: httpx2.Client) -> Places:
    index = registry.get(f"{WEB}/manifests/live")
    digest, platform = index.headers["docker-content-digest"], index.json()["manifests"][0]["digest"]
    empty = registry.get(f"{EMPTY}/manifests/latest").json()["manifests"][0]["digest"]
    layer = registry.get(f"{EMPTY}/manifests/{empty}").json()["layers"][0]["digest"]
    (nar,) = nars(registry)
    return {
        "version": "/v2/",
        "tag": f"{WEB}/manifests/live",
        "number": f"{WEB}/manifests/1",
        "manifest": f"{WEB}/manifests/{platform}",
        "lockfile": f"{WEB}/blobs/{index.json()['annotations']['dev.flox.lockfile']}",
        "nar": f"{WEB}/blobs/{nar['digest']}",
        "tags": f"{WEB}/tags/list",
        "first tags": f"{WEB}/tags/list?n=1",
        "referrers": f"{WEB}/referrers/{digest}",
        "closures": f"{WEB}/referrers/{platform}",
        "referrers of a type": f"{WEB}/referrers/{digest}?artifactType={LOCKFILE}",
        "generic image": f"{EMPTY}/manifests/latest",
        "generic layer": f"{EMPTY}/blobs/{layer}",
        "generic tags": f"{EMPTY}/tags/list",
        "unknown tag": f"{WEB}/manifests/v1",
        "unknown blob": f"{WEB}/blobs/{UNKNOWN}",
        "unknown environment": "/v2/flox/empty/acme/none/tags/list",
        "no digest": f"{WEB}/blobs/sha256:abc",
        "no number": f"{WEB}/tags/list?n=x",
        "no route": "/v2/_catalog",
        "nothing": "/nothing",
        "healthz": "/healthz",
        "readyz": "/readyz",
    }


def kept(answer: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in CHANGING}


BLOBS = ("lockfile", "nar", "generic layer")
CONDITIONAL = ("tag", "number", "manifest", "generic image", *BLOBS)
READ = (*CONDITIONAL, "version", "tags", "first tags", "referrers", "closures", "referrers of a type", "generic tags")
REFUSED = ("unknown tag", "unknown blob", "unknown environment", "no digest", "no number", "no route", "nothing")
EVERYTHING = (*READ, *REFUSED, "healthz", "readyz")


@pytest.mark.parametrize("what", EVERYTHING)
def test_head_has_the_headers_of_get(registry: httpx2.Client, places: Places, what: str) -> None:
    registry.get(places[what])  # what is fetched or resolved on the way is, from now on
    got, head = registry.get(places[what]), registry.head(places[what])
    assert (head.status_code, kept(head), head.content) == (got.status_code, kept(got), b"")
    assert int(head.headers["content-length"]) == len(got.content) > 0


@pytest.mark.parametrize("what", [*READ, *REFUSED])
def test_every_answer_says_which_api_it_is_of(registry: httpx2.Client, places: Places, what: str) -> None:
    answer = registry.get(places[what])
    assert answer.headers[API_VERSION] == "registry/2.0"
    assert answer.status_code < 400 or message(answer)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("what", ["version", "tag", "lockfile", "tags", "referrers", "healthz"])
def test_other_methods_are_told_which_there_are(
    registry: httpx2.Client, places: Places, what: str, method: str
) -> None:
    answer = registry.request(method, places[what])
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.headers[API_VERSION] == "registry/2.0"
    assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"


def test_no_upload_is_ever_under_way(registry: httpx2.Client) -> None:
    for method, status, code in (("POST", 405, "UNSUPPORTED"), ("GET", 404, "BLOB_UPLOAD_UNKNOWN")):
        answer = registry.request(method, f"{WEB}/blobs/uploads/1")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)


@pytest.mark.parametrize("what", CONDITIONAL)
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        pytest.param([], 200, id="unconditional"),
        pytest.param(["{etag}"], 304, id="same"),
        pytest.param(['"other"'], 200, id="another"),
        pytest.param(['"other", {etag}'], 304, id="in-a-list"),
        pytest.param(['"other"', "{etag}"], 304, id="in-another-line"),
        pytest.param(["W/{etag}"], 304, id="weak"),
        pytest.param(["*"], 304, id="any"),
        pytest.param(["{bare}"], 200, id="without-quotes"),
    ],
)
def test_what_a_client_has_is_not_sent_again(
    registry: httpx2.Client, places: Places, what: str, lines: list[str], status: int
) -> None:
    etag = registry.get(places[what]).headers["etag"]
    conditions = [("If-None-Match", line.format(etag=etag, bare=etag.strip('"'))) for line in lines]
    for method in ("GET", "HEAD"):
        answer = registry.request(method, places[what], headers=conditions)
        assert (answer.status_code, answer.headers["etag"]) == (status, etag)
        assert answer.headers["docker-content-digest"] == etag.strip('"')
        assert bool(answer.content) == (method == "GET" and status == 200)


def test_blobs_have_one_type_wherever_they_are(registry: httpx2.Client, places: Places) -> None:
    found = {registry.get(places[what]).headers["content-type"] for what in BLOBS}
    assert found == {"application/octet-stream"}


@pytest.mark.parametrize("what", BLOBS)
@pytest.mark.parametrize(
    ("range_", "start", "stop"),
    [
        ("bytes=0-4", 0, 5),
        ("Bytes=0-4", 0, 5),
        ("bytes=10-10", 10, 11),
        ("bytes=20-", 20, None),
        ("bytes=-7", -7, None),
        ("bytes=0-999999999", 0, None),
    ],
)
def test_a_part(registry: httpx2.Client, places: Places, what: str, range_: str, start: int, stop: int | None) -> None:
    whole = registry.get(places[what])
    assert whole.headers["accept-ranges"] == "bytes"
    expected = whole.content[start:stop]
    answer = registry.get(places[what], headers={"Range": range_})
    assert (answer.status_code, answer.content) == (206, expected)
    begin = start % len(whole.content)
    assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(expected) - 1}/{len(whole.content)}"
    assert answer.headers["content-length"] == str(len(expected))
    assert {name: answer.headers[name] for name in ("etag", "docker-content-digest", "content-type")} == {
        name: whole.headers[name] for name in ("etag", "docker-content-digest", "content-type")
    }


@pytest.mark.parametrize("what", BLOBS)
@pytest.mark.parametrize("range_", ["bytes=999999999-", "bytes=-0"])
def test_a_part_that_is_not_there(registry: httpx2.Client, places: Places, what: str, range_: str) -> None:
    size = len(registry.get(places[what]).content)
    answer = registry.get(places[what], headers={"Range": range_})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    assert answer.json()["errors"][0]["code"] == "SIZE_INVALID"


@pytest.mark.parametrize("what", BLOBS)
@pytest.mark.parametrize(
    ("method", "range_", "condition", "status"),
    [
        pytest.param("GET", "bytes=0-4", "{etag}", 206, id="unchanged"),
        pytest.param("GET", "bytes=0-4", '"other"', 200, id="changed"),
        pytest.param("GET", "bytes=0-4", "W/{etag}", 200, id="weak-is-not-enough"),
        pytest.param("GET", "bytes=0-4", "Mon, 02 Mar 2026 08:00:00 GMT", 200, id="date"),
        pytest.param("GET", "bytes=999999999-", '"other"', 200, id="changed-and-outside"),
        pytest.param("GET", "lines=0-4", "{etag}", 200, id="other-unit"),
        pytest.param("GET", "bytes=0-1,4-5", "{etag}", 200, id="several"),
        pytest.param("HEAD", "bytes=0-4", "{etag}", 200, id="head-has-no-parts"),
        pytest.param("HEAD", "bytes=999999999-", "{etag}", 200, id="head-outside"),
    ],
)
def test_when_a_part_is_sent(
    registry: httpx2.Client, places: Places, what: str, method: str, range_: str, condition: str, status: int
) -> None:
    whole = registry.get(places[what])
    headers = {"Range": range_, "If-Range": condition.format(etag=whole.headers["etag"])}
    answer = registry.request(method, places[what], headers=headers)
    assert (answer.status_code, "content-range" in answer.headers) == (status, status == 206)
    assert answer.headers["content-length"] == ("5" if status == 206 else str(len(whole.content)))


@pytest.fixture
def away(world: World) -> Iterator[tuple[httpx2.Client, FaultyUpstream, str, bytes]]:
    """A registry, the cache that it asks, and a NAR that only the cache has: where it is asked for, and its bytes."""
    path, digest = large_package(world, "large", 3 * 1024 * 1024)
    world.push("acme/web", path)
    cache = FaultyUpstream(Router([Mount("/", StaticFiles(directory=world.cache.folder, check_dir=False))]))
    with serving(cache) as url, running_registry(world.settings(nix_cache=(url,))) as client:
        nars(client)
        data = (world.cache.folder / "nar" / f"{digest.hex}.nar").read_bytes()
        yield client, cache, f"{WEB}/blobs/{digest}", data
        cache.release.set()


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        pytest.param("HEAD", {}, 200, id="head"),
        pytest.param("HEAD", {"Range": "bytes=0-4"}, 200, id="head-of-a-part"),
        pytest.param("GET", {"If-None-Match": "{etag}"}, 304, id="not-modified"),
        pytest.param("GET", {"Range": "bytes=999999999-"}, 416, id="outside"),
    ],
)
def test_nothing_is_downloaded_for_an_answer_without_content(
    away: tuple[httpx2.Client, FaultyUpstream, str, bytes], method: str, headers: dict[str, str], status: int
) -> None:
    client, cache, path, data = away
    etag = f'"{path.rpartition("/")[2]}"'
    answer = client.request(method, path, headers={name: text.format(etag=etag) for name, text in headers.items()})
    assert answer.status_code == status
    if method == "HEAD":
        assert (answer.headers["content-length"], answer.headers["etag"]) == (str(len(data)), etag)
    assert [request for request in cache.requests if "/nar/" in request] == []
    assert client.get(path).content == data


@pytest.mark.parametrize(
    ("range_", "part"),
    [
        pytest.param("bytes=5-14", slice(5, 15), id="beginning"),
        pytest.param("bytes=2000000-", slice(2000000, None), id="open"),
        pytest.param("bytes=-9", slice(-9, None), id="end"),
    ],
)
def test_a_part_of_what_is_being_downloaded(
    away: tuple[httpx2.Client, FaultyUpstream, str, bytes], range_: str, part: slice
) -> None:
    client, cache, path, data = away
    answer = client.get(path, headers={"Range": range_})
    assert (answer.status_code, answer.content) == (206, data[part])
    assert [request for request in cache.requests if "/nar/" in request] == [f"GET /nar/{path[-64:]}.nar"]


def test_the_beginning_is_sent_while_the_rest_is_waited_for(
    away: tuple[httpx2.Client, FaultyUpstream, str, bytes],
) -> None:
    client, cache, path, data = away
    cache.fault, cache.only = Fault.STALL, "/nar/"
    assert client.get(path, headers={"Range": "bytes=5-14"}).content == data[5:15]
    assert Scraped(client)("floxbridge_downloads_in_flight") == 1
    cache.release.set()
    assert client.get(path).content == data


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        pytest.param(f"{WEB}/manifests/{SHA512}", 404, "MANIFEST_UNKNOWN", id="manifest"),
        pytest.param(f"{WEB}/blobs/{SHA512}", 404, "BLOB_UNKNOWN", id="blob"),
        pytest.param(f"{EMPTY}/manifests/{SHA512}", 404, "MANIFEST_UNKNOWN", id="generic-manifest"),
        pytest.param(f"{EMPTY}/blobs/{SHA512}", 404, "BLOB_UNKNOWN", id="generic-blob"),
        pytest.param(f"{WEB}/blobs/blake3:abc", 404, "BLOB_UNKNOWN", id="unregistered"),
        pytest.param(f"{WEB}/blobs/sha512:abc", 400, "DIGEST_INVALID", id="short"),
        pytest.param(f"{WEB}/blobs/Sha512:abc", 400, "DIGEST_INVALID", id="no-algorithm"),
        pytest.param(f"{WEB}/referrers/sha512:abc", 400, "DIGEST_INVALID", id="referrers-of-a-short-one"),
    ],
)
def test_digests_of_another_algorithm(registry: httpx2.Client, path: str, status: int, code: str) -> None:
    answer = registry.get(path)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)


@pytest.mark.parametrize("repository", [WEB, EMPTY])
@pytest.mark.parametrize("digest", [SHA512, str(UNKNOWN)])
def test_what_nobody_refers_to_has_an_empty_list(registry: httpx2.Client, repository: str, digest: str) -> None:
    answer = registry.get(f"{repository}/referrers/{digest}")
    assert (answer.status_code, answer.json()["manifests"]) == (200, [])


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(LOCKFILE, id="plus-as-it-is"),
        pytest.param(LOCKFILE.replace("+", "%2B"), id="plus-encoded"),
        pytest.param(LOCKFILE.replace("/", "%2F").replace("+", "%2b"), id="slash-encoded"),
    ],
)
def test_an_artifact_type_with_a_plus(registry: httpx2.Client, spelled: str) -> None:
    answer = registry.get(f"{WEB}/referrers/{digest_of(registry, 'live')}?artifactType={spelled}")
    assert [it["artifactType"] for it in answer.json()["manifests"]] == [LOCKFILE]
    assert answer.headers["oci-filters-applied"] == "artifactType"


@pytest.mark.parametrize("path", ["/", "/v2/_catalog", "/v2/flox/empty", "/v1/", "/gitx/acme"])
@pytest.mark.parametrize("hub", ["embedded", "elsewhere"])
def test_what_is_no_route_is_an_error_of_the_specification(world: World, hub: str, path: str) -> None:
    elsewhere: dict[str, Any] = {"hub_dir": None, "floxhub_url": "http://127.0.0.1:9"}
    with running_registry(world.settings(**({} if hub == "embedded" else elsewhere))) as client:
        answers = [client.request(method, path) for method in ("GET", "OPTIONS", "POST")]
    for answer in answers:
        assert (answer.status_code, answer.headers[API_VERSION]) == (404, "registry/2.0")
        assert answer.json()["errors"][0]["code"] == "NOT_FOUND"


def test_an_embedded_hub_is_below_git(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        listed = client.get("/git/acme/floxmeta/info/refs?service=git-upload-pack")
    assert (listed.status_code, b"# service=git-upload-pack" in listed.content) == (200, True)

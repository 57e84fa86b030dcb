"""What refers to an environment image, over a real port: lockfile, bills of materials and audit trail of an index."""

import json
import shutil
from typing import Any

import httpx2
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from flox_formats import closure
from flox_formats.digest import Digest
from flox_formats.lockfile import Lockfile
from flox_formats.narinfo import NarInfo
from flox_formats.store_path import StorePath
from flox_formats.system import System
from registry_proxy.hub import local
from registry_proxy.images import audit_trail
from registry_proxy.images.content import INDEX, LOCKFILE, MANIFEST, SBOM
from tests.integration.registry_rig import World, lock_of, running_registry
from tests.integration.test_pull_api import WEB, digest_of, message

_TYPES = [LOCKFILE, SBOM, SBOM, audit_trail.ARTIFACT_TYPE]


def listed(client: httpx2.Client, digest: str, artifact_type: str | None = None) -> list[dict[str, Any]]:
    asked = {"artifactType": artifact_type} if artifact_type else {}
    answer = client.get(f"{WEB}/referrers/{digest}", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == INDEX
    assert answer.headers.get("oci-filters-applied") == ("artifactType" if artifact_type else None)
    found: list[dict[str, Any]] = answer.json()["manifests"]
    return found


def manifest(client: httpx2.Client, digest: str) -> dict[str, Any]:
    answer = client.get(f"{WEB}/manifests/{digest}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == MANIFEST
    assert str(Digest.of(answer.content)) == digest
    document: dict[str, Any] = answer.json()
    return document


def file_of(client: httpx2.Client, descriptor: dict[str, Any]) -> bytes:
    """The artifact's one layer, whole and as promised; its config is the empty one."""
    document = manifest(client, descriptor["digest"])
    assert client.get(f"{WEB}/blobs/{document['config']['digest']}").content == b"{}"
    (layer,) = document["layers"]
    data = client.get(f"{WEB}/blobs/{layer['digest']}").content
    assert (str(Digest.of(data)), len(data)) == (layer["digest"], layer["size"])
    return data


def trail(client: httpx2.Client, digest: str) -> list[dict[str, Any]]:
    (descriptor,) = listed(client, digest, audit_trail.ARTIFACT_TYPE)
    return [json.loads(line) for line in file_of(client, descriptor).splitlines()]


def lose(world: World, path: StorePath) -> None:
    (world.cache.folder / f"{path.hash}.narinfo").unlink()


def test_an_index_has_its_referrers(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        digest = digest_of(client, "live")
        found = listed(client, digest)
        assert [it["artifactType"] for it in found] == _TYPES
        titles = [it["annotations"]["org.opencontainers.image.title"] for it in found]
        assert titles == [
            "manifest.lock",
            "sbom.x86_64-linux.cdx.json",
            "sbom.aarch64-linux.cdx.json",
            "audit-trail.jsonl",
        ]
        for descriptor in found:
            document = manifest(client, descriptor["digest"])
            assert document["subject"]["digest"] == digest
            assert document["artifactType"] == descriptor["artifactType"]
            assert document["annotations"] == descriptor["annotations"]
            assert descriptor["annotations"]["org.opencontainers.image.created"] == "2026-03-02T08:00:00Z"
            assert file_of(client, descriptor)
            assert listed(client, descriptor["digest"]) == []


@pytest.mark.parametrize(
    ("wanted", "count"),
    [(LOCKFILE, 1), (SBOM, 2), (audit_trail.ARTIFACT_TYPE, 1), (closure.ARTIFACT_TYPE, 0), ("other/type", 0)],
)
def test_referrers_by_artifact_type(world: World, wanted: str, count: int) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        found = listed(client, digest_of(client, "live"), wanted)
    assert [it["artifactType"] for it in found] == [wanted] * count


def test_the_lockfile_is_that_of_the_generation(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        index = client.get(f"{WEB}/manifests/live")
        (descriptor,) = listed(client, index.headers["docker-content-digest"], LOCKFILE)
        lockfile = Lockfile.parse(file_of(client, descriptor))
        assert str(lockfile.digest) == index.json()["annotations"]["dev.flox.lockfile"]


def test_a_bill_names_every_path_of_the_closure_of_its_platform(world: World) -> None:
    base = world.package("base-1.0", "below")
    hello = world.package("hello-2.12", "hi", base)
    world.push("acme/web", hello)
    with running_registry(world.settings()) as client:
        digest = digest_of(client, "live")
        bills = listed(client, digest, SBOM)
        assert [it["annotations"]["dev.flox.platform"] for it in bills] == ["linux/amd64", "linux/arm64"]
        data = file_of(client, bills[0])
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    document = json.loads(data)
    assert document["metadata"]["component"]["bom-ref"] == digest
    nars = {path: narinfo(world, path).nar_hash.hex for path in (base, hello)}
    assert {it["bom-ref"]: it["hashes"][0]["content"] for it in document["components"]} == {
        path.base_name: nar for path, nar in nars.items()
    }
    depends = {it["ref"]: it.get("dependsOn", []) for it in document["dependencies"]}
    assert depends == {digest: [hello.base_name], hello.base_name: [base.base_name], base.base_name: []}


def narinfo(world: World, path: StorePath) -> NarInfo:
    return NarInfo.parse((world.cache.folder / f"{path.hash}.narinfo").read_bytes())


def test_the_trail_of_a_generation_grows_when_it_is_switched_to(world: World) -> None:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    with running_registry(world.settings()) as client:
        first = digest_of(client, "1")
        (before,) = listed(client, first, audit_trail.ARTIFACT_TYPE)
        assert [it["generation"] for it in trail(client, first)] == [1]
        world.push("acme/web", hello, world.package("more", "there"))
        world.switch("acme/web", 1)
        entries = trail(client, first)
        assert [(it["previousGeneration"], it["generation"]) for it in entries] == [(None, 1), (1, 2), (2, 1)]
        assert {(it["author"], it["hostname"], it["time"]) for it in entries} == {
            ("alice", "build-01", "2026-03-02T08:00:00Z")
        }
        assert entries[-1]["command"] == ["flox", "push"]
        assert len(file_of(client, before).splitlines()) == 1


def test_replicas_and_restarts_agree(world: World) -> None:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    world.push("acme/web", hello, world.package("more", "there"))
    with running_registry(world.settings("one")) as one, running_registry(world.settings("two")) as two:
        found = [listed(one, digest_of(one, tag)) for tag in ("1", "2")]
        assert found == [listed(two, digest_of(two, tag)) for tag in ("1", "2")]
    with running_registry(world.settings("one")) as again:
        assert found == [listed(again, digest_of(again, tag)) for tag in ("1", "2")]


@pytest.mark.parametrize("after_another", [False, True], ids=["at-once", "after-a-digest-that-nobody-has"])
def test_a_replica_answers_digests_of_artifacts_that_it_never_saw(world: World, after_another: bool) -> None:
    hello = world.package("hello", "hi")
    world.push("acme/web", hello)
    with running_registry(world.settings("one")) as one:
        digests = [it["digest"] for it in listed(one, digest_of(one, "1"))]
        files = [manifest(one, digest)["layers"][0]["digest"] for digest in digests]
        empty = manifest(one, digests[0])["config"]["digest"]
    world.push("acme/web", hello, world.package("more", "there"))
    world.switch("acme/web", 1)
    paths = [f"manifests/{it}" for it in digests] + [f"blobs/{it}" for it in (*files, empty)]
    for path in paths:
        shutil.rmtree(world.root / "fresh", ignore_errors=True)
        with running_registry(world.settings("fresh")) as fresh:
            if after_another:
                assert fresh.get(f"{WEB}/blobs/{Digest.of(path.encode())}").status_code == 404
            answer = fresh.get(f"{WEB}/{path}")
            assert answer.status_code == 200, path
            assert str(Digest.of(answer.content)) == path.rpartition("/")[2]


def test_artifacts_that_were_lost_are_made_again(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        digest = digest_of(client, "live")
        found = listed(client, digest)
        (closure_artifact,) = listed(client, client.get(f"{WEB}/manifests/live").json()["manifests"][0]["digest"])
        for descriptor in (*found, closure_artifact):
            shutil.rmtree(world.root / "state" / "content" / "sha256")
            assert manifest(client, descriptor["digest"])["artifactType"] == descriptor["artifactType"]
        shutil.rmtree(world.root / "state" / "content" / "sha256")
        assert all(file_of(client, it) for it in found)
        shutil.rmtree(world.root / "state" / "content" / "sha256")
        assert listed(client, digest) == found


def test_a_path_in_no_cache_leaves_out_the_bills_and_says_so(world: World) -> None:
    base = world.package("base", "below")
    world.push("acme/web", world.package("hello", "hi", base))
    lose(world, base)
    with running_registry(world.settings()) as client:
        digest = digest_of(client, "live")
        answer = client.get(f"{WEB}/referrers/{digest}")
        assert [it["artifactType"] for it in answer.json()["manifests"]] == [LOCKFILE, audit_trail.ARTIFACT_TYPE]
        warnings = answer.headers.get_list("warning")
        assert len(warnings) == 2
        assert all(it.startswith('299 - "no bill of materials for ') and str(base) in it for it in warnings)
        only_bills = client.get(f"{WEB}/referrers/{digest}", params={"artifactType": SBOM})
        assert (only_bills.status_code, str(base) in message(only_bills)) == (502, True)
        for wanted in (LOCKFILE, audit_trail.ARTIFACT_TYPE):
            alone = client.get(f"{WEB}/referrers/{digest}", params={"artifactType": wanted})
            assert (len(alone.json()["manifests"]), "warning" in alone.headers) == (1, False)


def test_a_system_whose_closure_is_incomplete_costs_the_other_nothing(world: World) -> None:
    hello, lost = world.package("hello", "hi"), world.package("lost", "gone")
    lock = json.loads(lock_of(hello, lost))
    lock["packages"] = [
        it for it in lock["packages"] if (it["install_id"], it["system"]) != ("lost", System.X86_64_LINUX)
    ]
    world.push("acme/web", lock=json.dumps(lock).encode())
    lose(world, lost)
    with running_registry(world.settings()) as client:
        answer = client.get(f"{WEB}/referrers/{digest_of(client, 'live')}")
    platforms = [it["annotations"].get("dev.flox.platform") for it in answer.json()["manifests"]]
    assert platforms == [None, "linux/amd64", None]
    assert "aarch64-linux" in answer.headers["warning"]


def test_an_index_that_was_rewritten_keeps_what_referred_to_it(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        digest = digest_of(client, "live")
        found = listed(client, digest)
        shutil.rmtree(world.hub)
        local.init(world.hub)
        world.push("acme/web", world.package("other", "rewritten"))
        assert digest_of(client, "live") != digest
        assert sorted(it["digest"] for it in listed(client, digest)) == sorted(it["digest"] for it in found)


def test_the_generic_image_has_no_referrers(world: World) -> None:
    with running_registry(world.settings()) as client:
        digest = digest_of(client, "latest", "/v2/flox/empty")
        assert client.get(f"/v2/flox/empty/referrers/{digest}").json()["manifests"] == []

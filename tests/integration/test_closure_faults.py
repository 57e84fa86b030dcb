"""Binary caches that lack a path, lie or fail: the error names the path and its package, and nothing wrong is kept."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from flox_formats.digest import Digest
from flox_formats.narinfo import NarInfo
from flox_formats.signature import SecretKey
from flox_formats.store_path import StorePath
from tests.integration.faulty_upstream import Fault, FaultyUpstream, serving
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_pull_api import WEB, message


def referrers(client: httpx2.Client) -> httpx2.Response:
    platform = client.get(f"{WEB}/manifests/live").json()["manifests"][0]
    return client.get(f"{WEB}/referrers/{platform['digest']}")


def nars(client: httpx2.Client) -> list[dict[str, object]]:
    (artifact,) = referrers(client).json()["manifests"]
    layers: list[dict[str, object]] = client.get(f"{WEB}/manifests/{artifact['digest']}").json()["layers"]
    return layers[1:]


def whole_blob(client: httpx2.Client, layer: dict[str, object]) -> bytes | None:
    """What a client that checks nothing would take for the blob; None where it was refused or broke off."""
    try:
        answer = client.get(f"{WEB}/blobs/{layer['digest']}")
    except httpx2.HTTPError:
        return None
    return answer.content if answer.status_code == 200 else None


def narinfo_of(world: World, path: StorePath) -> Path:
    return world.cache.folder / f"{path.hash}.narinfo"


def without_signature(text: bytes) -> bytes:
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"Sig:"))


def signed_by_a_stranger(text: bytes) -> bytes:
    stranger = SecretKey.generate("stranger-1").sign(NarInfo.parse(text).fingerprint())
    return without_signature(text) + f"Sig: {stranger}\n".encode()


def with_another_hash(text: bytes) -> bytes:
    old = NarInfo.parse(text).nar_hash.to_nix().encode()
    return text.replace(old, Digest.of(b"another").to_nix().encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(without_signature, "without any signature", id="no-signature"),
        pytest.param(signed_by_a_stranger, "signed by stranger-1", id="signed-by-a-stranger"),
        pytest.param(with_another_hash, "does not match", id="signature-of-something-else"),
        pytest.param(lambda text: text[:40], "cut off", id="cut-off"),
        pytest.param(lambda text: b"<html>", "cut off", id="not-a-narinfo"),
        pytest.param(lambda text: text.replace(b"nar/", b"../nar/"), "path below the cache", id="url-that-escapes"),
        pytest.param(
            lambda text: text.replace(b"-base\n", b"-else\n", 1), "its narinfo is about", id="of-another-path"
        ),
    ],
)
def test_a_narinfo_that_cannot_be_believed(world: World, change: Callable[[bytes], bytes], said: str) -> None:
    base = world.package("base", "below")
    world.push("acme/web", world.package("hello", "hi", base))
    narinfo = narinfo_of(world, base)
    good = narinfo.read_bytes()
    narinfo.write_bytes(change(good))
    with running_registry(world.settings()) as client:
        answer = referrers(client)
        assert (answer.status_code, said in message(answer)) == (502, True), answer.text
        assert "package 'hello'" in message(answer)
        assert str(base) in message(answer)
        narinfo.write_bytes(good)
        assert referrers(client).status_code == 200


def test_a_path_that_no_cache_has(world: World) -> None:
    base = world.package("base", "below")
    world.push("acme/web", world.package("hello", "hi", base))
    narinfo_of(world, base).unlink()
    with running_registry(world.settings()) as client:
        answer = referrers(client)
        assert answer.status_code == 502
        assert f"package 'hello' needs {base}, which no binary cache has" in message(answer)
        assert world.cache.url in message(answer)


def test_the_second_cache_is_asked_for_what_the_first_lacks(world: World) -> None:
    other = World.make(world.root / "other")
    base = other.package("base", "below")
    world.push("acme/web", world.package("hello", "hi", base))
    settings = world.settings(
        nix_cache=(world.cache.url, other.cache.url),
        trusted_key=(str(world.cache.public_key), str(other.cache.public_key)),
    )
    with running_registry(settings) as client:
        assert len(nars(client)) == 2


def test_a_cache_without_file_hashes_is_measured(world: World) -> None:
    hello = world.package("hello", "hi")
    narinfo = narinfo_of(world, hello)
    kept = [line for line in narinfo.read_bytes().splitlines(keepends=True) if not line.startswith(b"File")]
    narinfo.write_bytes(b"".join(kept))
    world.push("acme/web", hello)
    with running_registry(world.settings()) as client:
        (nar,) = nars(client)
        assert str(Digest.of(client.get(f"{WEB}/blobs/{nar['digest']}").content)) == nar["digest"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-10], id="cut-off"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="one-bit"),
        pytest.param(lambda data: data + b"more", id="too-long"),
        pytest.param(lambda data: b"", id="empty"),
    ],
)
def test_a_nar_that_is_not_what_was_promised_never_arrives_whole(
    world: World, damage: Callable[[bytes], bytes]
) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    (nar,) = (world.cache.folder / "nar").iterdir()
    good = nar.read_bytes()
    with running_registry(world.settings()) as client:
        (layer,) = nars(client)
        nar.write_bytes(damage(good))
        assert whole_blob(client, layer) is None
        assert not list((world.root / "state" / "content" / ".staging").iterdir())
        nar.write_bytes(good)
        assert client.get(f"{WEB}/blobs/{layer['digest']}").content == good


@pytest.fixture
def http_cache(world: World) -> Iterator[tuple[FaultyUpstream, str]]:
    upstream = FaultyUpstream(
        Starlette(routes=[Mount("/", StaticFiles(directory=world.cache.folder, check_dir=False))])
    )
    with serving(upstream) as url:
        yield upstream, url
        upstream.release.set()


def test_a_closure_over_http(world: World, http_cache: tuple[FaultyUpstream, str]) -> None:
    upstream, url = http_cache
    world.push("acme/web", world.package("hello", "hi", world.package("base", "below")))
    with running_registry(world.settings(nix_cache=(url,))) as client:
        for layer in nars(client) * 3:
            assert str(Digest.of(client.get(f"{WEB}/blobs/{layer['digest']}").content)) == layer["digest"]
    asked = [request for request in upstream.requests if "/nar/" in request]
    assert len(asked) == len(set(asked)) == 2


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        pytest.param(Fault.SERVER_ERROR, 503, "HTTP 500", id="server-error"),
        pytest.param(Fault.TOO_MANY, 503, "HTTP 429", id="too-many"),
        pytest.param(Fault.NOT_FOUND, 502, "which no binary cache has", id="truly-missing"),
        pytest.param(Fault.GARBAGE, 502, "narinfo", id="garbage"),
        pytest.param(Fault.CUT, 503, "cannot be reached", id="cut"),
    ],
)
def test_a_cache_that_fails_is_not_one_that_lacks(
    world: World, http_cache: tuple[FaultyUpstream, str], fault: Fault, status: int, said: str
) -> None:
    upstream, url = http_cache
    world.push("acme/web", world.package("hello", "hi"))
    upstream.fault = fault
    with running_registry(world.settings(nix_cache=(url,), cache_timeout_s=2)) as client:
        answer = referrers(client)
        assert (answer.status_code, said in message(answer)) == (status, True), answer.text
        upstream.fault = Fault.NONE
        assert referrers(client).status_code == 200


def test_digests_that_somebody_makes_up_do_not_ask_the_caches_again_and_again(
    world: World, http_cache: tuple[FaultyUpstream, str]
) -> None:
    upstream, url = http_cache
    base = world.package("base", "below")
    world.push("acme/web", world.package("hello", "hi", base))
    narinfo_of(world, base).unlink()
    with running_registry(world.settings(nix_cache=(url,))) as client:
        for text in ("one", "two", "three"):
            assert client.get(f"{WEB}/blobs/{Digest.of(text.encode())}").status_code == 404
    asked = [request for request in upstream.requests if request.endswith(f"{base.hash}.narinfo")]
    assert len(asked) == 2, "once for each system"

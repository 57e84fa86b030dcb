"""Bytes that are not what was promised, disks that do not do what they should: one sentence, and nothing is left."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from flox_formats.digest import Digest
from flox_formats.json_document import canonical_json
from flox_formats.narinfo import Compression
from flox_formats.signature import SecretKey, TrustedKeys
from flox_formats.store_path import StorePath
from shim_hooks.errors import ContentRejected, RegistryRefused, StoreFailed
from shim_hooks.store.collector import Bound, Collector
from shim_hooks.store.leases import Leases
from tests.conftest import cannot_run, needs, needs_root
from tests.integration.node_rig import Node, running_node
from tests.integration.registry_rig import lock_of
from tests.integration.small_registry import (
    KEY,
    LOCKFILE,
    MANIFEST,
    Fault,
    Generation,
    Package,
    SmallRegistry,
    descriptor,
    program,
)
from tests.unit.nar_trees import File, archive, directory, entry, nar, nested

pytestmark = pytest.mark.anyio

GOOD = Package.make("good", program("good"))
STRANGER = SecretKey.generate("stranger-1")
IMPOSTOR = SecretKey.generate(KEY.name)


def saying(fingerprint: Package, **other: object) -> Package:
    """A package of which something else is said, with the signature as it was."""
    return replace(fingerprint, path=replace(fingerprint.path, **other))  # type: ignore[arg-type]


# Before anything is fetched


@pytest.mark.parametrize(
    ("package", "message"),
    [
        pytest.param(Package.make("bad", {}, key=None), "without any signature, but trusted are test-1", id="unsigned"),
        pytest.param(
            Package.make("bad", {}, key=STRANGER), "signed by stranger-1, but trusted are test-1", id="unknown-key"
        ),
        pytest.param(
            Package.make("bad", {}, key=IMPOSTOR), "the signature by test-1 does not match", id="key-of-the-same-name"
        ),
        pytest.param(
            saying(Package.make("bad", {}), nar_hash=Digest.of(b"other")),
            "by test-1 does not match",
            id="other-nar-hash",
        ),
        pytest.param(saying(Package.make("bad", {}), nar_size=7), "by test-1 does not match", id="other-size"),
        pytest.param(
            saying(Package.make("bad", {}), references=(GOOD.store_path,)),
            "by test-1 does not match",
            id="other-references",
        ),
        pytest.param(
            saying(Package.make("bad", {}, key=None, content_addressed=True), nar_hash=Digest.of(b"other")),
            "without any signature",
            id="false-content-address",
        ),
    ],
)
async def test_who_is_not_trusted_is_not_fetched(
    registry: SmallRegistry, node: Node, package: Package, message: str
) -> None:
    registry.push("acme/web", 1, GOOD, package)
    with pytest.raises(ContentRejected, match=f"acme/web:1: {package.store_path}: .*{message}"):
        await node.realise("acme/web")
    assert not registry.blob_requests(GOOD, package)
    assert not node.contents()


async def test_no_key_is_trusted(registry: SmallRegistry, tmp_path: Path) -> None:
    registry.push("acme/web", 1, GOOD)
    async with running_node(tmp_path, registry.url, trusted=TrustedKeys([])) as node:
        with pytest.raises(ContentRejected, match="no key is trusted"):
            await node.realise("acme/web")


async def test_a_closure_that_lacks_a_package(registry: SmallRegistry, node: Node) -> None:
    missing = StorePath("0" * 32, "missing")
    registry.push("acme/web", 1, GOOD, lock=lock_of(GOOD.store_path, missing))
    with pytest.raises(ContentRejected, match=f"its closure lacks {missing}, of 'missing'"):
        await node.realise("acme/web")
    assert not node.contents()


OTHER_LOCK = lock_of(StorePath("1" * 32, "other"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        pytest.param({"subject": descriptor(MANIFEST, b"other")}, "belongs to another generation", id="other-subject"),
        pytest.param(
            {"layers": [descriptor(LOCKFILE, OTHER_LOCK)]}, "belongs to another generation", id="other-lockfile"
        ),
        pytest.param({"layers": []}, "'layers' do not begin with", id="no-lockfile"),
        pytest.param(
            {"layers": [descriptor("text/plain", OTHER_LOCK)]}, "'layers' do not begin with", id="odd-lockfile"
        ),
        pytest.param({"config": descriptor("text/plain", b"")}, "'config' is of type 'text/plain'", id="no-closure"),
        pytest.param({"mediaType": "text/plain"}, "'mediaType' is 'text/plain'", id="no-manifest"),
        pytest.param({"subject": None}, "'digest' is missing", id="no-subject"),
        pytest.param(
            {"config": {**descriptor("application/vnd.floxbridge.closure.v1+json", b""), "size": 10**9}},
            "has 1000000000 bytes, more than the",
            id="too-large",
        ),
    ],
)
async def test_a_closure_artifact_that_is_none(
    registry: SmallRegistry, node: Node, members: dict[str, object], message: str
) -> None:
    registry.push("acme/web", 1, GOOD, members=members)
    with pytest.raises(ContentRejected, match=message):
        await node.realise("acme/web")
    assert not registry.blob_requests(GOOD)


@pytest.mark.parametrize("which", ["artifact", "document", "lockfile"])
async def test_documents_have_the_digest_they_were_asked_for_by(
    registry: SmallRegistry, node: Node, which: str
) -> None:
    generation = registry.push("acme/web", 1, GOOD)
    data = {
        "artifact": generation.artifact,
        "document": generation.document.to_bytes(),
        "lockfile": generation.lockfile.data,
    }[which]
    registry.fail(str(Digest.of(data)), Fault(body=data.swapcase()))
    with pytest.raises(ContentRejected, match="the registry sent other bytes than those of"):
        await node.realise("acme/web")
    registry.fail(str(Digest.of(data)), Fault(body=data + b" "))
    with pytest.raises(ContentRejected, match="the registry sent more than the"):
        await node.realise("acme/web")


async def test_a_document_that_is_no_closure(registry: SmallRegistry, node: Node) -> None:
    nonsense = canonical_json({"system": "x86_64-linux", "roots": [], "paths": [{}]})
    members = {"config": descriptor("application/vnd.floxbridge.closure.v1+json", nonsense)}
    registry.push("acme/web", 1, GOOD, members=members)
    registry.contents[f"/v2/flox/empty/acme/web/blobs/{Digest.of(nonsense)}"] = nonsense
    with pytest.raises(ContentRejected, match="acme/web:1: the registry's answer is none: closure"):
        await node.realise("acme/web")


# Blobs


def damaged(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(Fault(body=damaged(GOOD.blob)), "the registry sent other bytes", id="wrong-hash"),
        pytest.param(Fault(body=GOOD.blob + b"more"), r"promises \d+ bytes, the registry has \d+", id="longer"),
        pytest.param(Fault(body=GOOD.blob[:-4]), r"promises \d+ bytes, the registry has \d+", id="shorter"),
        pytest.param(
            Fault(headers={"Content-Encoding": "gzip"}, body=damaged(GOOD.blob)),
            "the registry sent other bytes",
            id="claims-to-be-encoded",
        ),
        pytest.param(
            Fault(status=206, headers={"Content-Range": "bytes 5-9/10"}), "the registry sent others", id="another-range"
        ),
    ],
)
async def test_blobs_that_are_others(registry: SmallRegistry, node: Node, fault: Fault, message: str) -> None:
    registry.push("acme/web", 1, GOOD)
    registry.fail(GOOD, fault)
    with pytest.raises(ContentRejected, match=message):
        await node.realise("acme/web")
    assert not node.contents()
    assert node.is_tidy()


async def test_an_encoding_is_asked_off_and_never_undone(registry: SmallRegistry, node: Node) -> None:
    package = Package.make("zipped", program("zipped"), compression=Compression.GZIP)
    registry.push("acme/web", 1, package)
    registry.fail(package, Fault(headers={"Content-Encoding": "gzip"}))
    await node.realise("acme/web")
    assert node.has(package)
    assert all(b"\r\naccept-encoding: identity\r\n" in head.lower() for head in registry.heads)


async def test_a_blob_that_the_registry_lost(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, GOOD)
    registry.fail(GOOD, Fault(status=404, body=b'{"errors":[{"message":"no cache has it"}]}'))
    with pytest.raises(RegistryRefused, match=f"fetching blob {GOOD.path.blob}: .* answers: no cache has it"):
        await node.realise("acme/web")


BOMB = Package.make("bomb", {b"zeros": File(bytes(50_000_000))}, compression=Compression.XZ)


@pytest.mark.parametrize(
    ("package", "message"),
    [
        pytest.param(GOOD.promising(nar_hash=Digest.of(b"other")), "of sha256:[0-9a-f]+, promised", id="nar-hash"),
        pytest.param(GOOD.promising(nar_size=GOOD.path.nar_size + 8), "its NAR has .* promised", id="nar-shorter"),
        pytest.param(GOOD.promising(nar_size=GOOD.path.nar_size - 8), "more than the promised", id="nar-longer"),
        pytest.param(BOMB.promising(nar_size=1000), "more than the promised 1000 bytes", id="bomb"),
        pytest.param(
            Package.make("bad", archive(directory(entry(b"..", File(b"out"))))),
            r"'\.\.' is not a file name",
            id="dot-dot",
        ),
        pytest.param(
            Package.make("bad", archive(directory(entry(b"a/../../b", File(b"out"))))), "is not a file name", id="slash"
        ),
        pytest.param(
            Package.make("bad", archive(directory(entry(b"a", File(b"1")), entry(b"a", File(b"2"))))),
            "twice",
            id="twice",
        ),
        pytest.param(
            Package.make("bad", archive(directory(entry(b"b", File(b"1")), entry(b"a", File(b"2"))))),
            "not sorted",
            id="unsorted",
        ),
        pytest.param(Package.make("bad", nar({b"a": File(b"x" * 999)})[:-50]), "cut off", id="nar-cut-off"),
        pytest.param(Package.make("bad", nar({}) + b"more"), "more after the end", id="after-the-end"),
        pytest.param(Package.make("bad", b"not a NAR at all" * 9), "want 'nix-archive-1'", id="no-nar"),
        pytest.param(Package.make("bad", nested(5000)), "directories inside each other", id="deep"),
        pytest.param(GOOD.promising(compression=Compression.ZSTD), "not compressed with zstd", id="not-zstd"),
        pytest.param(GOOD.promising(compression=Compression.BZIP2), "not compressed with bzip2", id="not-bzip2"),
        pytest.param(GOOD.promising(compression=Compression.GZIP), "not compressed with gzip", id="not-gzip"),
        pytest.param(GOOD.promising(compression=Compression.NONE), "want 'nix-archive-1'", id="not-plain"),
        pytest.param(
            Package.make("bad", {}, compression=Compression.NONE).promising(compression=Compression.XZ),
            "not compressed with xz",
            id="not-xz",
        ),
    ],
)
async def test_nars_that_are_not_what_was_promised(
    registry: SmallRegistry, node: Node, package: Package, message: str
) -> None:
    registry.push("acme/web", 1, package)
    with pytest.raises(ContentRejected, match=message) as raised:
        await node.realise("acme/web")
    assert str(raised.value).startswith(str(package.store_path))
    assert not node.contents()
    assert node.is_tidy()
    assert sorted(entry.name for entry in node.store.root.iterdir()) == [
        "closures",
        "leases",
        "partial",
        "private",
        "staging",
        "staging-spare",
        "store",
    ]


@pytest.mark.parametrize("compression", [each for each in Compression if each is not Compression.NONE])
async def test_compressed_and_cut_off(registry: SmallRegistry, node: Node, compression: Compression) -> None:
    whole = Package.make("cut", program("cut", size=1000), compression=compression)
    blob = whole.blob[:-5]
    package = replace(whole, blob=blob, path=replace(whole.path, blob=Digest.of(blob), blob_size=len(blob)))
    registry.push("acme/web", 1, package)
    with pytest.raises(ContentRejected, match=f"compressed with {compression}"):
        await node.realise("acme/web")
    assert not node.contents()


async def test_a_good_path_stays_beside_a_bad_one(registry: SmallRegistry, node: Node) -> None:
    bad = Package.make("bad", program("bad")).promising(nar_hash=Digest.of(b"other"))
    registry.push("acme/web", 1, GOOD, bad)
    with pytest.raises(ContentRejected):
        await node.realise("acme/web")
    registry.push("acme/web", 2, GOOD)
    realised = await node.realise("acme/web")
    assert node.has(GOOD)
    assert node.contents() == {GOOD.store_path.base_name, realised.env_path.base_name}


# The disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    needs_root()
    needs("mount", "umount")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "floxbridge-test", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        cannot_run(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def huge() -> Package:
    return Package.make("huge", program("huge", size=3_000_000), compression=Compression.XZ)


async def test_a_full_disk(registry: SmallRegistry, small_disk: Path) -> None:
    registry.push("acme/web", 1, GOOD, huge())
    async with running_node(small_disk, registry.url) as node:
        with pytest.raises(StoreFailed, match=f"the disk that holds {small_disk}.* is full. Free space on it"):
            await node.realise("acme/web")
        assert not node.partial_sizes()  # it would be in the way of everything else
        registry.push("acme/web", 2, GOOD)
        assert (await node.realise("acme/web")).generation == 2


async def test_a_full_disk_has_room_again_after_a_collection(registry: SmallRegistry, small_disk: Path) -> None:
    """What nobody uses goes, on the full disk itself, and the next try finds the room."""
    filling = Package.make("filling", program("filling", size=2_000_000), compression=Compression.XZ)
    larger = Package.make("larger", program("larger", size=1_500_000), compression=Compression.XZ)
    registry.push("acme/old", 1, filling)
    registry.push("acme/new", 1, larger)
    async with running_node(small_disk, registry.url) as node:
        await node.realise("acme/old")
        with pytest.raises(StoreFailed, match=f"the disk that holds {small_disk}.* is full. Free space on it"):
            await node.realise("acme/new")
        (small_disk / "stopper").write_bytes(b"")
        with suppress(OSError), (small_disk / "stopper").open("wb", buffering=0) as stopper:
            while stopper.write(b"x" * 65536):  # to the last byte
                pass
        collector = Collector(node.store, Leases(small_disk / "leases"))
        done = await asyncio.to_thread(collector.collect, Bound(None, 40))
        assert (done.closures, node.has(filling)) == (1, False)
        (small_disk / "stopper").unlink()
        assert (await node.realise("acme/new")).generation == 1


async def test_a_read_only_disk(registry: SmallRegistry, small_disk: Path) -> None:
    generation: Generation = registry.push("acme/web", 1, GOOD)
    async with running_node(small_disk, registry.url) as node:
        await node.realise(generation)
        registry.push("acme/web", 2, huge())
        remount(small_disk, "ro")
        try:
            with pytest.raises(StoreFailed, match="is read-only"):
                await node.realise("acme/web")
            assert (await node.realise(generation)).fetched_bytes == 0
        finally:
            remount(small_disk, "rw")

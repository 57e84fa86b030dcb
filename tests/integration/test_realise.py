"""Environments come onto a node: what is fetched, what is not, and what is left when something goes wrong."""

import asyncio
from pathlib import Path

import pytest

from flox_formats.digest import Digest
from flox_formats.narinfo import Compression
from flox_formats.system import System
from shim_hooks.environment.progress import Progress
from shim_hooks.errors import (
    ContentRejected,
    LinkConflict,
    Refused,
    RegistryDenied,
    RegistryRefused,
    RegistryUnavailable,
    StillFetching,
)
from tests.integration.node_rig import Node, running_node
from tests.integration.registry_rig import lock_of
from tests.integration.small_registry import COMPRESS, Fault, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

LIB = Package.make("lib", {b"lib": {}})
HELLO = Package.make("hello", program("hello"), [LIB.store_path])
WORLD = Package.make("world", program("world"))
BIG = Package.make("big", program("big", size=100_000), compression=Compression.NONE)


class Clock:
    """Stands still until a test moves it. Bytes that come look at it, so it knows when some did."""

    def __init__(self) -> None:
        self.now = 100.0
        self._looked = asyncio.Event()

    def __call__(self) -> float:
        self._looked.set()
        return self.now

    async def until_fetched(self, node: Node, environment: str, size: int) -> Progress:
        """How far an environment is as soon as so many bytes of it have come."""
        async with asyncio.timeout(60):
            while True:
                for each in node.realiser.under_way():
                    if str(each.environment) == environment and each.progress and each.progress.done >= size:
                        return each.progress
                self._looked.clear()
                await self._looked.wait()


def sizes(*packages: Package) -> int:
    return sum(len(package.blob) for package in packages)


# What comes


async def test_the_live_generation_comes_and_is_linked(registry: SmallRegistry, node: Node) -> None:
    generation = registry.push("Acme/web", 3, HELLO, LIB, roots=[HELLO])
    realised = await node.realise("Acme/web")
    assert (str(realised.environment), realised.generation) == ("Acme/web", 3)
    assert realised.lockfile == generation.lockfile.activation
    assert realised.fetched_bytes == sizes(HELLO, LIB)
    assert set(realised.paths) == {HELLO.store_path, LIB.store_path, realised.env_path}
    assert node.contents() == {path.base_name for path in realised.paths}
    environment = realised.folders.own / realised.env_path.base_name
    assert (environment / "bin").readlink() == Path(str(HELLO.store_path), "bin")
    assert (environment / "manifest.lock").read_bytes() == generation.lockfile.data
    requisites = (environment / "requisites.txt").read_text().splitlines()
    assert requisites == sorted(map(str, realised.paths))
    assert node.is_tidy()
    (event,) = node.events("realised")
    assert (event["fetched_bytes"], event["paths"]) == (realised.fetched_bytes, 2)


@pytest.mark.parametrize("compression", COMPRESS)
async def test_every_compression(registry: SmallRegistry, node: Node, compression: Compression) -> None:
    package = Package.make("big", program("big", size=1_000_000), compression=compression)
    registry.push("acme/web", 1, package)
    realised = await node.realise("acme/web")
    unpacked = node.store.public.path_of(package.store_path) / "bin" / "big"
    assert unpacked.stat().st_mode & 0o777 == 0o555
    assert unpacked.read_bytes().startswith(b"#!/bin/sh\necho big")
    assert realised.fetched_bytes == len(package.blob)


async def test_a_content_addressed_path_needs_no_signature(registry: SmallRegistry, node: Node) -> None:
    package = Package.make("source", program("source"), key=None, content_addressed=True)
    registry.push("acme/web", 1, package)
    await node.realise("acme/web")
    assert node.has(package)


async def test_an_environment_without_packages(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/empty", 1)
    realised = await node.realise("acme/empty")
    environment = realised.folders.own / realised.env_path.base_name
    assert sorted(entry.name for entry in environment.iterdir()) == ["activate.d", "manifest.lock", "requisites.txt"]


async def test_a_new_generation_fetches_only_what_changed(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, HELLO, LIB)
    first = await node.realise("acme/web")
    registry.push("acme/web", 2, HELLO, LIB, WORLD)
    second = await node.realise("acme/web")
    assert (second.generation, second.fetched_bytes) == (2, len(WORLD.blob))
    assert second.env_path != first.env_path
    again = await node.realise("acme/web:1")
    assert (again.env_path, again.fetched_bytes) == (first.env_path, 0)


async def test_what_vanished_from_the_store_is_fetched_again(registry: SmallRegistry, node: Node) -> None:
    generation = registry.push("acme/web", 1, HELLO, LIB, WORLD)
    await node.realise(generation)
    vanished = node.store.public.path_of(LIB.store_path)
    (vanished / "lib").rmdir()
    vanished.rmdir()
    realised = await node.realise(generation)
    assert realised.fetched_bytes == len(LIB.blob)
    assert node.has(LIB)


async def test_a_record_that_is_damaged_is_made_anew(registry: SmallRegistry, tmp_path: Path) -> None:
    generation = registry.push("acme/web", 1, HELLO, LIB)
    for damage in (b"", b"{}", b"\0garbage"):
        async with running_node(tmp_path, registry.url) as node:
            await node.realise(generation)
            assert node.has(HELLO)
        for record in (tmp_path / "closures").glob("*.*"):
            record.write_bytes(damage)
    assert registry.blob_requests(HELLO, LIB).total() == 2


# When nobody is asked


async def test_a_complete_closure_needs_no_network(registry: SmallRegistry, tmp_path: Path) -> None:
    generation = registry.push("acme/web", 1, HELLO, LIB)
    async with running_node(tmp_path, registry.url) as node:
        await node.realise(generation)
        registry.requests.clear()
        realised = await node.realise(generation)
        assert realised.fetched_bytes == 0
    async with running_node(tmp_path, "http://127.0.0.1:1") as restarted:
        assert await restarted.realise(generation) == realised
        assert not restarted.events("realised")
    assert registry.requests == []


async def test_another_environment_of_the_same_lockfile_fetches_nothing(registry: SmallRegistry, node: Node) -> None:
    generation = registry.push("acme/web", 1, HELLO, LIB)
    first = await node.realise(generation)
    fork_generation = registry.push("acme/fork", 7, HELLO, LIB)
    registry.requests.clear()
    fork = await node.realise(fork_generation)
    asked = [f"/v2/flox/empty/acme/fork/blobs/{generation.lockfile.digest}"]  # whether it may be used
    assert (fork.env_path.name, fork.generation, registry.requests) == ("environment-fork", 7, asked)
    assert fork.env_path != first.env_path


async def test_fifty_containers_at_once_fetch_each_blob_once(registry: SmallRegistry, node: Node) -> None:
    generation = registry.push("acme/web", 1, HELLO, LIB, WORLD, BIG)
    wishes: list[str | object] = ["acme/web", generation] * 25
    everyone = await asyncio.gather(*(node.realise(wish) for wish in wishes))  # type: ignore[arg-type]
    assert len({realised.env_path for realised in everyone}) == 1
    assert set(registry.blob_requests(HELLO, LIB, WORLD, BIG).values()) == {1}
    assert {realised.fetched_bytes for realised in everyone} <= {sizes(HELLO, LIB, WORLD, BIG), 0}
    assert len(node.events("realised")) == 1


async def test_two_environments_share_what_is_under_way(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, BIG, HELLO, LIB)
    registry.push("acme/api", 1, BIG, WORLD)
    await asyncio.gather(node.realise("acme/web"), node.realise("acme/api"))
    assert registry.blob_requests(BIG) == {str(BIG.path.blob): 1}


# When the registry is away


async def test_the_last_known_live_generation_will_do(registry: SmallRegistry, tmp_path: Path) -> None:
    registry.push("acme/web", 4, HELLO, LIB)
    async with running_node(tmp_path, registry.url) as node:
        realised = await node.realise("acme/web")
    async with running_node(tmp_path, "http://127.0.0.1:1") as cut_off:
        assert (await cut_off.realise("acme/web")).env_path == realised.env_path
        (event,) = cut_off.events("registry_away")
        assert (event["asked"], event["generation"]) == ("acme/web", 4)


async def test_a_registry_that_cannot_answer_now_counts_as_away(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 4, HELLO, LIB)
    realised = await node.realise("acme/web")
    registry.fail("/manifests/live", Fault(status=503, body=b'{"errors":[{"message":"FloxHub is down"}]}'))
    assert (await node.realise("acme/web")).env_path == realised.env_path
    assert "answers: FloxHub is down" in node.events("registry_away")[0]["message"]


async def test_nothing_is_known_and_the_registry_is_away(tmp_path: Path) -> None:
    async with running_node(tmp_path, "http://127.0.0.1:1") as node:
        for wish in ("acme/web", "acme/web:3"):
            with pytest.raises(RegistryUnavailable, match=r"http://127\.0\.0\.1:1 cannot be reached .* registry_url"):
                await node.realise(wish)


async def test_the_last_known_generation_is_not_complete_here(registry: SmallRegistry, tmp_path: Path) -> None:
    registry.push("acme/web", 4, HELLO, LIB)
    registry.fail(LIB, Fault(status=404))
    async with running_node(tmp_path, registry.url) as node:
        with pytest.raises(RegistryRefused):
            await node.realise("acme/web")
    async with running_node(tmp_path, "http://127.0.0.1:1") as cut_off:
        with pytest.raises(RegistryUnavailable, match="acme/web was generation 4, which is not complete on this node"):
            await cut_off.realise("acme/web")


async def test_an_answer_is_final_when_the_registry_is_there(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 4, HELLO, LIB)
    await node.realise("acme/web")
    del registry.contents["/v2/flox/empty/acme/web/manifests/live"]
    with pytest.raises(RegistryRefused, match="answers: nobody knows /v2/flox/empty/acme/web/manifests/live"):
        await node.realise("acme/web")


# When time is short


async def test_fetching_goes_on_after_the_deadline(registry: SmallRegistry, tmp_path: Path) -> None:
    generation, clock, hold = registry.push("acme/web", 1, BIG, WORLD), Clock(), asyncio.Event()
    registry.fail(BIG, Fault(cut=50_000, hold=hold))
    async with running_node(tmp_path, registry.url, clock=clock) as node:
        patient = asyncio.create_task(node.realise(generation))
        await clock.until_fetched(node, "acme/web", 50_000 + sizes(WORLD))
        clock.now += 4
        with pytest.raises(StillFetching) as late:
            await node.realise(generation, deadline_s=0.1)
        assert str(late.value) == (
            "environment acme/web: still fetching: 49 %, 50.2 of 100.7 kB, 13 kB/s. "
            "It goes on; kubelet's retry will find it further on"
        )
        clock.now += 60  # and nothing comes
        with pytest.raises(StillFetching, match=r"49 %, 50\.2 of 100\.7 kB, 0 bytes/s\. It goes on"):
            await node.realise(generation, deadline_s=0.1)
        hold.set()
        assert (await node.realise(generation)).generation == 1
        assert (await patient).generation == 1
        assert node.realiser.under_way() == ()
    assert set(registry.blob_requests(BIG, WORLD).values()) == {1}


async def test_what_came_before_for_another_environment_is_no_speed(registry: SmallRegistry, tmp_path: Path) -> None:
    registry.push("acme/web", 1, BIG)
    registry.push("acme/api", 1, BIG, WORLD)
    clock, hold = Clock(), asyncio.Event()
    registry.fail(BIG, Fault(cut=50_000, hold=hold))
    async with running_node(tmp_path, registry.url, clock=clock) as node:
        first = asyncio.create_task(node.realise("acme/web"))
        await clock.until_fetched(node, "acme/web", 50_000)
        clock.now += 5
        second = asyncio.create_task(node.realise("acme/api"))
        await clock.until_fetched(node, "acme/api", 50_000 + sizes(WORLD))
        clock.now += 2
        progress = await clock.until_fetched(node, "acme/api", 0)
        assert (progress.done, progress.total) == (50_000 + sizes(WORLD), sizes(BIG, WORLD))
        assert (progress.paths, progress.rate) == (2, sizes(WORLD) / 2)
        hold.set()
        await asyncio.gather(first, second)


async def test_a_registry_that_is_still_collecting(registry: SmallRegistry, node: Node) -> None:
    generation = registry.push("acme/web", 1, BIG)
    manifest = Digest.of(generation.platform_manifest)
    registry.fail(f"/referrers/{manifest}", Fault(hold=asyncio.Event()))
    with pytest.raises(StillFetching, match="acme/web: still fetching: the registry is collecting its closure"):
        await node.realise("acme/web", deadline_s=1)


async def test_a_registry_that_says_nothing_in_time(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, WORLD)
    registry.fail("/manifests/live", Fault(hold=asyncio.Event()))
    with pytest.raises(RegistryUnavailable, match="asking for acme/web: the registry did not answer in time"):
        await node.realise("acme/web", deadline_s=0.5)
    assert node.is_tidy()


async def test_who_goes_away_cancels_nothing(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, BIG)
    hold = asyncio.Event()
    registry.fail(BIG, Fault(hold=hold))
    leader, other = (asyncio.create_task(node.realise("acme/web")) for _ in range(2))
    await registry.held.wait()
    leader.cancel()
    await asyncio.wait([leader])
    hold.set()
    assert (await other).generation == 1
    assert registry.blob_requests(BIG).total() == 1


async def test_stopping_tells_who_waits(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, BIG)
    registry.fail(BIG, Fault(hold=asyncio.Event()))
    waiting = asyncio.create_task(node.realise("acme/web"))
    await registry.held.wait()
    await node.realiser.aclose()
    with pytest.raises(RegistryUnavailable, match="acme/web: floxbridge-node is being stopped"):
        await waiting
    assert node.is_tidy()
    assert not node.contents()


async def test_a_failure_is_remembered_by_nobody(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, BIG, WORLD)
    registry.fail(BIG, Fault(times=1, status=404))
    with pytest.raises(RegistryRefused):
        await node.realise("acme/web")
    assert (await node.realise("acme/web")).generation == 1
    assert registry.blob_requests(WORLD).total() == 1
    assert node.events("realise_failed")[0]["environment"] == "acme/web"


# When the answer is no


async def test_the_registrys_own_sentence_reaches_the_pod(registry: SmallRegistry, node: Node) -> None:
    body = b'{"errors":[{"code":"NAME_UNKNOWN","message":"no environment\\nacme/wev; did you mean acme/web?"}]}'
    registry.fail("/manifests/live", Fault(status=404, body=body))
    with pytest.raises(RegistryRefused) as raised:
        await node.realise("acme/wev")
    assert str(raised.value) == (
        f"asking for acme/wev: the registry at {registry.url} answers: no environment acme/wev; did you mean acme/web?"
    )


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        pytest.param(
            Fault(status=404, body=b"<html>"), RegistryRefused, "HTTP status 404, without a word", id="no-json"
        ),
        pytest.param(Fault(status=401, body=b'{"errors":3}'), RegistryDenied, "HTTP status 401", id="odd-errors"),
        pytest.param(Fault(status=500, body=b"[]"), RegistryUnavailable, "HTTP status 500", id="broken"),
        pytest.param(
            Fault(status=307, headers={"Location": "http://elsewhere.invalid/"}),
            RegistryRefused,
            "go to 'http://elsewhere.invalid/', which is not done",
            id="redirect",
        ),
        pytest.param(Fault(body=b"{}"), ContentRejected, "the registry's answer is none", id="no-index"),
        pytest.param(Fault(body=b"\0" * 5_000_000), ContentRejected, "more than the 4194304 bytes", id="endless"),
        pytest.param(Fault(cut=10), RegistryUnavailable, "broke off", id="cut-off"),
    ],
)
async def test_answers_that_are_none(
    registry: SmallRegistry, node: Node, fault: Fault, kind: type[Exception], message: str
) -> None:
    registry.push("acme/web", 1, WORLD)
    registry.fail("/manifests/live", fault)
    with pytest.raises(kind, match=message):
        await node.realise("acme/web")
    assert not node.contents()


async def test_a_rewritten_generation_says_so(registry: SmallRegistry, node: Node) -> None:
    pulled = registry.push("acme/web", 1, WORLD)
    registry.push("acme/web", 1, HELLO, LIB)
    with pytest.raises(Refused, match="generation 1 of acme/web was rewritten after the image was pulled"):
        await node.realise(pulled)


async def test_names_differ_by_case(registry: SmallRegistry, node: Node) -> None:
    registry.push("Acme/web", 1, WORLD)
    registry.contents["/v2/flox/empty/acme/web/manifests/live"] = registry.contents[
        "/v2/flox/empty/Acme/web/manifests/live"
    ]
    with pytest.raises(ContentRejected, match="acme/web: the registry answers with Acme/web:1; names differ by case"):
        await node.realise("acme/web")


async def test_not_for_this_platform(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, WORLD)
    live = "/v2/flox/empty/acme/web/manifests/live"
    registry.contents[live] = registry.contents[live].replace(b'"amd64"', b'"arm64"')
    with pytest.raises(Refused, match=r"acme/web:1 cannot run on linux/amd64, it is for linux/arm64: add x86_64-linux"):
        await node.realise("acme/web")


async def test_no_closure_for_it(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, WORLD)
    for path in [path for path in registry.contents if "/referrers/" in path]:
        registry.contents[path] = (
            b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
        )
    with pytest.raises(RegistryRefused, match=r"the registry has no closure of acme/web:1: tell it .*--nix-cache"):
        await node.realise("acme/web")


async def test_two_packages_that_conflict(registry: SmallRegistry, node: Node) -> None:
    other = Package.make("other", program("world", "too"))
    registry.push("acme/web", 1, WORLD, other)
    with pytest.raises(LinkConflict, match=r"conflicts with .* Both packages provide the file 'bin/world'"):
        await node.realise("acme/web")
    assert node.contents() == {WORLD.store_path.base_name, other.store_path.base_name}
    assert node.is_tidy()


async def test_a_lockfile_that_is_not_for_this_system(registry: SmallRegistry, node: Node) -> None:
    registry.push("acme/web", 1, WORLD, lock=lock_of(WORLD.store_path, systems=(System.AARCH64_LINUX,)))
    with pytest.raises(Refused, match=r"acme/web:1: the environment is not locked for x86_64-linux"):
        await node.realise("acme/web")
    assert not node.contents()

"""What a container may read of what lies on the node: what is public, and what is its own environment's. Nothing else.

The rest of the node's life with it: each byte once, collected, compared, mended, and found again.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from flox_formats.nar import dump
from flox_formats.signature import SecretKey, TrustedKeys
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Shown, Wanted
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.store.collector import Bound, Collector
from shim_hooks.store.leases import Leases
from shim_hooks.store.store_folders import StoreFolders
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import KEY, Fault, Generation, Package, SmallRegistry, program
from tests.integration.test_at_hand import long_ago
from tests.integration.test_node_cli import node as node_command

pytestmark = pytest.mark.anyio

EVERYBODYS = SecretKey.generate("everybodys-1")
MINE = FloxHubToken("flox_pat_mine")
LIBC = Package.make("libc", program("libc"), key=EVERYBODYS)
PAYROLL = Package.make("payroll", program("payroll", size=3000), [LIBC.store_path])
REPORTS = Package.make("reports", program("reports", size=3000), [LIBC.store_path])
HELLO = Package.make("hello", program("hello"), [LIBC.store_path])
KEYS = TrustedKeys([KEY.public, EVERYBODYS.public])
NOTHING = Bound(0, 0)
SECRET, WEB = "acme/secret", "acme/web"


@pytest.fixture
async def node(registry: SmallRegistry, tmp_path: Path) -> AsyncIterator[Node]:
    async with running(tmp_path / "state", registry) as node:
        yield node


def running(state: Path, registry: SmallRegistry) -> AbstractAsyncContextManager[Node]:
    return running_node(state, registry.url, trusted=KEYS, public=TrustedKeys([EVERYBODYS.public]))


def push(registry: SmallRegistry, environment: str, number: int, *packages: Package, private: bool) -> Generation:
    registry.private.pop(environment, None)
    if private:
        registry.private[environment] = MINE
    return registry.push(environment, number, *packages)


def wanted(generation: Generation, token: FloxHubToken | None = None) -> Wanted:
    return Wanted(generation.environment, generation.number, generation.lockfile.digest, Mode.RUN, token)


def seen(folders: StoreFolders) -> set[str]:
    """The names of what a container sees at /nix/store."""
    return {name.partition("-")[2] for folder in folders.folders for name in os.listdir(folder)}  # noqa: PTH208


def own(node: Node, generation: Generation) -> set[str]:
    """The names of what lies in the folder that only this environment's containers see."""
    folder = node.store.private_of(generation.environment).own
    return {entry.name.partition("-")[2] for entry in folder.iterdir()} if folder.exists() else set()


@pytest.mark.parametrize("first", ["secret", "web"])
async def test_a_public_pod_sees_nothing_that_is_only_a_private_environments(
    registry: SmallRegistry, node: Node, first: str
) -> None:
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    web = push(registry, WEB, 1, HELLO, LIBC, private=False)
    asked = {"secret": wanted(secret, MINE), "web": wanted(web)}
    realised = {which: await node.realise(asked[which]) for which in sorted(asked, key=lambda which: which != first)}
    assert seen(realised["web"].folders) == {"hello", "libc", "environment-web"}
    assert seen(realised["secret"].folders) == {"payroll", "environment-secret"} | seen(realised["web"].folders)
    assert registry.blob_requests(LIBC, HELLO, PAYROLL).total() == 3
    for each in realised.values():
        assert each.folders.narrowed(each.paths) == each.folders
    assert node.is_tidy()


async def test_neither_sees_what_another_private_environment_has(registry: SmallRegistry, node: Node) -> None:
    secret, reports = (
        push(registry, SECRET, 1, PAYROLL, LIBC, private=True),
        push(registry, "acme/reports", 1, REPORTS, PAYROLL, LIBC, private=True),
    )
    first, second = await node.realise(wanted(secret, MINE)), await node.realise(wanted(reports, MINE))
    assert seen(first.folders) == {"payroll", "environment-secret", "libc"}
    assert seen(second.folders) == {"payroll", "reports", "environment-reports", "libc"}
    assert registry.blob_requests(PAYROLL).total() == 2
    assert registry.blob_requests(LIBC).total() == 1


FORGED = replace(PAYROLL.path, signatures=(*PAYROLL.path.signatures, *LIBC.path.signatures))


@pytest.mark.parametrize(
    ("package", "shared"),
    [
        pytest.param(PAYROLL, False, id="of-a-private-catalog"),
        pytest.param(Package.make("payroll", program("payroll"), key=EVERYBODYS), True, id="of-a-public-cache"),
        pytest.param(Package.make("payroll", program("payroll"), key=None, content_addressed=True), False, id="ca"),
        pytest.param(replace(PAYROLL, path=FORGED), False, id="signature-of-something-else"),
        pytest.param(
            Package.make("payroll", program("payroll"), key=SecretKey(EVERYBODYS.name, b"1" * 32)).promising(),
            False,
            id="another-key-of-that-name",
        ),
    ],
)
async def test_what_a_public_cache_signed_is_everybodys(
    registry: SmallRegistry, node: Node, package: Package, shared: bool
) -> None:
    secret = push(registry, SECRET, 1, package, LIBC, private=True)
    await node.realise(wanted(secret, MINE))
    assert own(node, secret) == {"environment-secret", *(() if shared else ("payroll",))}


async def test_the_next_generation_fetches_only_what_changed(registry: SmallRegistry, node: Node) -> None:
    first = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    await node.realise(wanted(first, MINE))
    second = push(registry, SECRET, 2, PAYROLL, REPORTS, LIBC, private=True)
    assert (await node.realise(wanted(second, MINE))).fetched_bytes == len(REPORTS.blob)


async def test_an_environment_that_becomes_public_is_everybodys_from_then_on(
    registry: SmallRegistry, node: Node
) -> None:
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    before = await node.realise(wanted(secret, MINE))
    push(registry, SECRET, 1, PAYROLL, LIBC, private=False)
    after = await node.realise(wanted(secret))
    assert after.fetched_bytes == len(PAYROLL.blob), "what lies where not everybody sees it is not taken from there"
    assert seen(after.folders) == {"payroll", "environment-secret", "libc"}
    assert node.realiser.is_here(before, Mode.RUN) is False, "all of it lies where all see it"
    assert (await node.realise(wanted(secret, MINE))).folders == after.folders


async def test_an_environment_that_becomes_private_gives_nothing_new_away(registry: SmallRegistry, node: Node) -> None:
    web = push(registry, WEB, 1, HELLO, LIBC, private=False)
    await node.realise(wanted(web))
    later = push(registry, WEB, 2, PAYROLL, HELLO, LIBC, private=True)
    realised = await node.realise(wanted(later, MINE))
    assert realised.fetched_bytes == len(PAYROLL.blob)
    assert own(node, later) == {"payroll", "environment-web"}
    assert seen(node.store.public) == {"hello", "libc", "environment-web"}


async def test_with_a_token_and_without_one_at_once(registry: SmallRegistry, node: Node) -> None:
    """An environment that everybody is shown, of which the node has not heard that yet: at worst it comes twice."""
    web = push(registry, WEB, 1, HELLO, LIBC, private=False)
    asked = (wanted(web, MINE), wanted(web), Wanted(web.environment, None, None, Mode.RUN, MINE))
    realised = await asyncio.gather(*(node.realise(each) for each in asked))
    assert all(each.folders.narrowed(each.paths) for each in realised)
    assert not node.store.public.missing(realised[1].paths)
    assert registry.blob_requests(LIBC).total() == 1
    assert registry.blob_requests(HELLO).total() <= 2
    assert (await node.realise(wanted(web, MINE))).folders == node.store.public


async def test_a_download_that_fails_for_one_keeps_the_other_from_nothing(registry: SmallRegistry, node: Node) -> None:
    """The same path, on its way to the environment's own folder and to where all see it."""
    gate = asyncio.Event()
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    registry.fail(PAYROLL, Fault(times=1, hold=gate))
    coming = asyncio.create_task(node.realise(wanted(secret, MINE)))
    await registry.held.wait()
    web = push(registry, WEB, 1, PAYROLL, LIBC, private=False)
    assert seen((await node.realise(wanted(web))).folders) == {"payroll", "libc", "environment-web"}
    gate.set()
    assert (await coming).folders.is_private


async def test_who_joins_a_container_finds_what_the_container_was_given(registry: SmallRegistry, node: Node) -> None:
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    web = push(registry, WEB, 1, HELLO, LIBC, private=False)
    for created in (await node.realise(wanted(secret, MINE)), await node.realise(wanted(web))):
        joining = Wanted(created.environment, 1, created.lockfile.digest, Mode.RUN, shown=Shown.TO_ITS_PODS)
        registry.requests.clear()
        found = node.realiser.at_hand(joining)
        assert found is not None
        assert node.realiser.is_here(found, Mode.RUN)
        assert found.env_path == (await node.realise(joining)).env_path == created.env_path
        assert registry.requests == []


@pytest.mark.parametrize("settled", [pytest.param(True, id="long-ago"), pytest.param(False, id="just-now")])
@pytest.mark.parametrize(
    ("gone", "again"),
    [
        pytest.param(PAYROLL, PAYROLL, id="from-its-own"),
        pytest.param(LIBC, LIBC, id="from-what-all-see"),
        pytest.param(None, PAYROLL, id="all-of-its-own"),
    ],
)
async def test_what_is_gone_from_either_folder_is_missed(
    registry: SmallRegistry, node: Node, gone: Package | None, again: Package, settled: bool
) -> None:
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    realised = await node.realise(wanted(secret, MINE))
    if settled:
        for each in realised.folders.folders:
            long_ago(node, each)
    assert node.realiser.is_here(realised, Mode.RUN)
    place = realised.folders.own if gone is None else realised.folders.path_of(gone.store_path)
    place.rename(node.store.root / "gone")
    assert not node.realiser.is_here(realised, Mode.RUN)
    assert (await node.realise(wanted(secret, MINE))).fetched_bytes == len(again.blob)


async def test_a_new_agent_finds_it_again(registry: SmallRegistry, tmp_path: Path) -> None:
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    async with running(tmp_path / "state", registry) as node:
        before = await node.realise(wanted(secret, MINE))
    async with running(tmp_path / "state", registry) as node:
        assert replace(await node.realise(wanted(secret, MINE)), fetched_bytes=before.fetched_bytes) == before


async def collect(node: Node, bound: Bound = NOTHING) -> int:
    collector = Collector(node.store, Leases(node.store.root / "leases"))
    return (await asyncio.to_thread(collector.collect, bound)).size


async def test_what_a_container_uses_stays_in_both_folders(registry: SmallRegistry, node: Node, tmp_path: Path) -> None:
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    web = push(registry, WEB, 1, HELLO, LIBC, private=False)
    realised = await node.realise(wanted(secret, MINE))
    await node.realise(wanted(web))
    Leases(node.store.root / "leases").take("c1", tmp_path, realised.paths)
    size = sum(path.nar_size for path in (PAYROLL.path, LIBC.path))
    assert await collect(node) >= size
    assert not realised.folders.missing(realised.paths)
    assert seen(node.store.public) == {"libc"}
    Leases(node.store.root / "leases").drop("c1")
    assert await collect(node) == 0
    assert await collect(node) == 0
    assert seen(node.store.public) == set()
    assert not realised.folders.own.exists()
    assert node.is_tidy()


async def test_what_only_one_of_two_needs_goes_with_it(registry: SmallRegistry, node: Node) -> None:
    """Both have a copy of the same private package; a closure's use keeps none of the other's."""
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    reports = push(registry, "acme/reports", 1, PAYROLL, REPORTS, LIBC, private=True)
    for generation, when in ((secret, 100.0), (reports, 200.0)):
        await node.realise(wanted(generation, MINE))
        name = f"{generation.lockfile.digest.hex}-{generation.document.system}.json"
        os.utime(node.store.root / "closures" / name, (when, when))
    size = await collect(node, Bound(None, 0))
    await collect(node, Bound(size - 1, 0))
    assert own(node, secret) == set()
    assert own(node, reports) == {"payroll", "reports", "environment-reports"}


async def test_what_is_held_stays(registry: SmallRegistry, node: Node) -> None:
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    async with node.realiser.holding(wanted(secret, MINE), deadline_s=60) as realised:
        await collect(node)
        assert not realised.folders.missing(realised.paths)
    await collect(node)
    assert len(realised.folders.missing(realised.paths)) == 3


async def run(node: Node, command: str, *arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(node_command, command, *arguments, "--state-dir", str(node.store.root))
    assert done.stderr == ""
    return done.returncode, done.stdout


async def test_by_hand(registry: SmallRegistry, node: Node) -> None:
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    realised = await node.realise(wanted(secret, MINE))
    status = json.loads((await run(node, "status", "--json"))[1])
    assert (status["store_paths"], status["closures"][0]["paths"]) == (3, 2)
    assert status["store_bytes"] == status["closures"][0]["bytes"]
    verified = json.loads((await run(node, "verify", "--json"))[1])
    assert (verified["paths"], verified["environments"], verified["not_compared"]) == (2, 1, [])
    said = json.loads((await run(node, "gc", "--max-bytes", "0", "--dry-run", "--json"))[1])
    assert (said["entries"], said["size"]) == (3, 0)
    assert not realised.folders.missing(realised.paths)
    await run(node, "gc", "--max-bytes", "0")
    assert len(realised.folders.missing(realised.paths)) == 3


def damaged(place: Path) -> None:
    for entry in (place, *place.rglob("*")):
        if not entry.is_symlink():
            entry.chmod(0o755)
    next(entry for entry in place.rglob("*") if entry.is_file() and not entry.is_symlink()).write_text("damaged")


async def damage(node: Node, place: Path, registry: SmallRegistry, token: Path) -> bool:
    """Whether it is found, mended where it lies, and whole then."""
    right = b"".join(dump(place))
    damaged(place)
    assert (await run(node, "verify"))[0] == 1
    asked = ("verify", "--repair", "--registry-url", registry.url, "--token-file", str(token), "--json")
    code, said = await run(node, *asked)
    assert [each["path"] for each in json.loads(said)["broken"]] == [f"/nix/store/{place.name}"]
    assert (await run(node, "verify"))[0] == 0
    return code == 0 and b"".join(dump(place)) == right


async def test_damage_in_each_folder_is_found_and_mended_there(
    registry: SmallRegistry, node: Node, tmp_path: Path
) -> None:
    """A path that lies in both, as it does when a public environment needed it later, is two."""
    token = tmp_path / "token"
    token.write_text(MINE.text)
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    realised = await node.realise(wanted(secret, MINE))
    await node.realise(wanted(push(registry, WEB, 1, PAYROLL, LIBC, private=False)))
    places = [place for path in realised.paths for place in realised.folders.places_of(path)]
    assert len(places) == 4
    for place in places:
        assert await damage(node, place, registry, token), place
    assert seen(node.store.public) == {"payroll", "libc", "environment-web"}
    assert node.is_tidy()


@pytest.mark.parametrize("package", [PAYROLL, LIBC], ids=["private", "public"])
async def test_what_is_missing_is_found_and_comes_back(
    registry: SmallRegistry, node: Node, tmp_path: Path, package: Package
) -> None:
    token = tmp_path / "token"
    token.write_text(MINE.text)
    realised = await node.realise(wanted(push(registry, SECRET, 1, PAYROLL, LIBC, private=True), MINE))
    realised.folders.path_of(package.store_path).rename(tmp_path / "gone")
    code, said = await run(node, "verify")
    assert (code, f"{package.store_path} is missing" in said) == (1, True)
    asked = ("verify", "--repair", "--registry-url", registry.url, "--token-file", str(token))
    assert (await run(node, *asked))[0] == 0
    assert not realised.folders.missing(realised.paths)
    assert PAYROLL.store_path.base_name not in node.contents()


async def test_what_cannot_be_fetched_is_removed_from_where_it_lies(registry: SmallRegistry, node: Node) -> None:
    """With the environments that link to it, wherever they lie; what another environment has of it stays."""
    secret = push(registry, SECRET, 1, PAYROLL, LIBC, private=True)
    reports = push(registry, "acme/reports", 1, PAYROLL, REPORTS, LIBC, private=True)
    for generation in (secret, reports):
        await node.realise(wanted(generation, MINE))
    damaged(node.store.private_of(secret.environment).path_of(PAYROLL.store_path))
    code, said = await run(node, "verify", "--repair", "--registry-url", registry.url)
    assert (code, "removed; what needs it fetches it anew" in said) == (0, True)
    assert own(node, secret) == set()
    assert own(node, reports) == {"payroll", "reports", "environment-reports"}

"""`floxbridge-node gc`, `verify` and `status` on a store with environments in it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flox_formats.digest import Digest
from flox_formats.nar import dump
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Wanted
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.store.leases import Leases
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import COMPRESS, Fault, Package, SmallRegistry, program
from tests.integration.test_node_cli import NOBODY, node
from tests.unit.nar_trees import nar

pytestmark = pytest.mark.anyio

LIB = Package.make("lib", program("lib", size=3000))
ONE = Package.make("one", program("one", size=3000), [LIB.store_path])


@pytest.fixture
async def there(registry: SmallRegistry, tmp_path: Path) -> AsyncIterator[Node]:
    """A node that has acme/one, and goes on while commands are run."""
    async with running_node(tmp_path / "state", registry.url) as running:
        registry.push("acme/one", 1, ONE, LIB)
        await running.realise("acme/one")
        yield running


async def run(there: Node, command: str, *arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(node, command, *arguments, "--state-dir", str(there.store.root))
    assert done.stderr == ""
    return done.returncode, done.stdout


def damage(there: Node, package: Package, name: str) -> None:
    (there.store.public.path_of(package.store_path) / "bin" / name).chmod(0o755)
    (there.store.public.path_of(package.store_path) / "bin" / name).write_text("other")


async def test_gc_takes_what_nobody_uses(there: Node) -> None:
    code, said = await run(there, "gc", "--max-bytes", "0", "--dry-run")
    assert (code, len(there.contents())) == (0, 3)
    assert "would free" in said
    code, said = await run(there, "gc", "--max-bytes", "0")
    assert code == 0
    assert "1 environments, 3 store paths\nthen the store has 0 bytes, of which 0 bytes are in use\n" in said
    assert not there.contents()


async def test_gc_leaves_what_is_in_use_and_says_so(there: Node, tmp_path: Path) -> None:
    realised = await there.realise("acme/one")
    Leases(there.store.root / "leases").take("c1", tmp_path, realised.paths)
    _, said = await run(there, "gc", "--max-bytes", "0")
    assert "more than the bound; all that is left is in use" in said
    found = json.loads((await run(there, "gc", "--max-bytes", "0", "--json"))[1])
    assert (found["freed"], found["entries"], found["excess"]) == (0, 0, found["size"])
    assert found["dry_run"] is False


async def test_gc_keeps_to_the_settings(there: Node) -> None:
    await run(there, "gc", "--store-min-free-percent", "0")
    assert len(there.contents()) == 3
    await run(there, "gc", "--store-min-free-percent", "0", "--store-max-bytes", "0")
    assert not there.contents()


async def test_status_lists_the_environments(there: Node) -> None:
    _, said = await run(there, "status")
    assert "environments  1\n  acme/one:1  2 paths" in said
    assert "last used 2" in said
    (closure,) = json.loads((await run(there, "status", "--json"))[1])["closures"]
    assert (closure["environment"], closure["paths"], closure["in_use"]) == ("acme/one:1", 2, False)
    assert closure["bytes"] > 6000


async def test_verify_finds_nothing(there: Node) -> None:
    code, said = await run(there, "verify")
    assert code == 0
    assert said.startswith("2 store paths, ")
    assert said.endswith(", and 1 linked environments: 0 broken\n")


async def test_verify_finds_and_repairs(there: Node, registry: SmallRegistry, tmp_path: Path) -> None:
    realised = await there.realise("acme/one")
    Leases(there.store.root / "leases").take("c1", tmp_path, realised.paths)
    damage(there, ONE, "one")
    code, said = await run(there, "verify")
    assert code == 1
    assert f"{ONE.store_path} has " in said
    assert "verify --repair makes them anew" in said
    assert "-environment-one was not compared: it links to what is broken itself: /nix/store/" in said
    code, said = await run(there, "verify", "--repair", "--registry-url", registry.url)
    assert (code, "fetched anew" in said) == (0, True)
    assert (await run(there, "verify"))[0] == 0
    assert (
        (there.store.public.path_of(ONE.store_path) / "bin" / "one").read_text(errors="replace").startswith("#!/bin/sh")
    )
    assert there.is_tidy()


def built_again(package: Package, text: str) -> Package:
    """The same store path from another cache, whose build had another outcome; signed, too."""
    tree = nar(program(package.store_path.name, text, size=3000))
    blob = COMPRESS[package.path.compression](tree)
    said = replace(
        package.path, nar_hash=Digest.of(tree), nar_size=len(tree), blob=Digest.of(blob), blob_size=len(blob)
    )
    return Package(said, blob).promising()


@pytest.mark.parametrize("number", range(4))
async def test_either_of_two_builds_is_whole(there: Node, registry: SmallRegistry, number: int) -> None:
    """The first that came lies there, whatever the records' order is."""
    registry.push("acme/other", 1, built_again(LIB, f"again {number}"), Package.make("other", program(f"{number}")))
    await there.realise("acme/other")
    code, said = await run(there, "verify")
    assert (code, said.endswith(", and 2 linked environments: 0 broken\n")) == (0, True)
    damage(there, LIB, "lib")
    code, said = await run(there, "verify")
    assert (code, f"{LIB.store_path} has " in said, " or " in said) == (1, True, True)
    code, said = await run(there, "verify", "--repair", "--registry-url", registry.url)
    assert (code, "fetched anew" in said) == (0, True)
    assert (await run(there, "verify"))[0] == 0


async def test_what_is_missing_is_fetched_too(there: Node, registry: SmallRegistry) -> None:
    there.store.public.path_of(LIB.store_path).rename(there.store.root / "elsewhere")
    code, said = await run(there, "verify", "--repair", "--registry-url", registry.url)
    assert (code, f"{LIB.store_path} is missing\n  fetched anew" in said) == (0, True)
    assert there.has(LIB)


async def test_without_a_registry_what_is_broken_goes(there: Node) -> None:
    damage(there, ONE, "one")
    code, said = await run(there, "verify", "--repair", "--json", "--registry-url", NOBODY)
    (broken,) = json.loads(said)["broken"]
    assert (code, broken["path"], broken["outcome"]) == (
        0,
        str(ONE.store_path),
        "removed; what needs it fetches it anew",
    )
    assert "cannot be reached" in broken["problem"]
    assert not there.has(ONE)
    assert (await there.realise("acme/one:1")).fetched_bytes == len(ONE.blob)


async def test_without_a_registry_what_a_container_uses_stays(there: Node, tmp_path: Path) -> None:
    realised = await there.realise("acme/one")
    Leases(there.store.root / "leases").take("c1", tmp_path, realised.paths)
    damage(there, ONE, "one")
    code, said = await run(there, "verify", "--repair", "--registry-url", NOBODY)
    assert (code, "left as it is, because a container uses it" in said) == (1, True)
    assert there.has(ONE)


async def test_a_registry_that_lies_mends_nothing(there: Node, registry: SmallRegistry) -> None:
    damage(there, ONE, "one")
    registry.fail(ONE, Fault(body=LIB.blob))
    code, said = await run(there, "verify", "--repair", "--registry-url", registry.url)
    assert (code, "removed" in said) == (0, True)


def add_file(environment: Path) -> None:
    (environment / "bin" / "more").symlink_to("/etc/passwd")


def change_byte(environment: Path) -> None:
    script = environment / "activate.d" / "envrc"
    data = script.read_bytes() or b"\0"
    script.chmod(0o644)
    script.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def change_lockfile(environment: Path) -> None:
    file = environment / "manifest.lock"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b'"lib"', b'"lob"'))


def change_link(environment: Path) -> None:
    (environment / "bin" / "one").unlink()
    (environment / "bin" / "one").symlink_to(f"{LIB.store_path}/bin/lib")


def remove_file(environment: Path) -> None:
    (environment / "requisites.txt").unlink()


def link_for_directory(environment: Path) -> None:
    shutil.rmtree(environment / "activate.d" / "floxbridge")
    (environment / "activate.d" / "floxbridge").symlink_to("/tmp")


@pytest.mark.parametrize(
    ("damaging", "why"),
    [
        pytest.param(add_file, "has 'bin/more', which does not belong there", id="extra-file"),
        pytest.param(change_byte, "has 'activate.d/envrc', which has ", id="changed-byte"),
        pytest.param(change_lockfile, "has 'manifest.lock', which has other bytes", id="changed-lockfile"),
        pytest.param(change_link, f"which leads to '{LIB.store_path}/bin/lib' and not to '{ONE.store_path}", id="link"),
        pytest.param(remove_file, "lacks 'requisites.txt'", id="missing-file"),
        pytest.param(link_for_directory, "has 'activate.d/floxbridge', which is no directory", id="symlink"),
    ],
)
async def test_a_damaged_environment_is_found_and_linked_anew(
    there: Node, tmp_path: Path, damaging: Callable[[Path], None], why: str
) -> None:
    realised = await there.realise("acme/one")
    Leases(there.store.root / "leases").take("c1", tmp_path, realised.paths)
    environment = there.store.public.path_of(realised.env_path)
    right = b"".join(dump(environment))
    for folder in (environment, *filter(Path.is_dir, environment.rglob("*"))):
        folder.chmod(0o755)
    damaging(environment)
    code, said = await run(there, "verify")
    assert (code, said.count("\n")) == (1, 3)
    assert f"{realised.env_path} {why}" in said or f"{realised.env_path} has 'bin/one', {why}" in said
    code, said = await run(there, "verify", "--repair", "--registry-url", NOBODY)
    assert (code, "linked anew" in said) == (0, True)
    assert b"".join(dump(environment)) == right
    assert (await run(there, "verify"))[0] == 0
    assert there.is_tidy()


async def test_both_modes_and_every_environment_of_a_lockfile_are_compared(
    there: Node, registry: SmallRegistry
) -> None:
    fork = registry.push("acme/fork", 1, ONE, LIB)
    await there.realise("acme/fork")
    await there.realise(Wanted(fork.environment, 1, fork.lockfile.digest, Mode.DEV))
    found = json.loads((await run(there, "verify", "--json"))[1])
    assert (found["paths"], found["environments"], found["broken"], found["not_compared"]) == (2, 3, [], [])


async def test_what_nobody_recorded_is_named(there: Node) -> None:
    stray = Package.make("stray", program("stray")).store_path
    there.store.public.path_of(stray).mkdir()
    code, said = await run(there, "verify")
    assert (code, f"{stray} was not compared: belongs to nothing that is recorded here\n" in said) == (0, True)
    for number in range(6):
        there.store.public.path_of(Package.make("stray", program(f"{number}")).store_path).mkdir()
    assert "\n2 more were not compared; --json names them\n" in (await run(there, "verify"))[1]
    assert len(json.loads((await run(there, "verify", "--json"))[1])["not_compared"]) == 7


async def test_an_environment_of_which_nobody_knows_is_noted_when_it_is_used(there: Node) -> None:
    (note,) = (there.store.root / "closures" / "linked").iterdir()
    for damage in (b"garbage", note.read_bytes().replace(b'"run"', b'"dev"')):
        note.write_bytes(damage)
        assert "-environment-one was not compared: " in (await run(there, "verify"))[1]
        note.unlink(missing_ok=True)
        await there.realise("acme/one")
        assert "1 linked environments: 0 broken" in (await run(there, "verify"))[1]


async def test_what_links_to_what_was_removed_goes_with_it(there: Node) -> None:
    """Else it would be taken for a whole one as soon as its closure is complete again."""
    damage(there, ONE, "one")
    await run(there, "verify", "--repair", "--registry-url", NOBODY)
    assert there.contents() == {LIB.store_path.base_name}
    assert "0 linked environments" in (await run(there, "verify"))[1]


async def test_a_private_path_is_fetched_with_a_token(there: Node, registry: SmallRegistry, tmp_path: Path) -> None:
    registry.private["acme/one"] = FloxHubToken("flox_pat_mine_5ec")
    token = tmp_path / "token"
    token.write_text("flox_pat_mine_5ec")
    damage(there, ONE, "one")
    asked = ("verify", "--repair", "--registry-url", registry.url)
    code, said = await run(there, *asked, "--token-file", str(token))
    assert (code, f"{ONE.store_path} has " in said, "fetched anew" in said) == (0, True, True)
    damage(there, ONE, "one")
    code, said = await run(there, *asked)
    assert (code, "nobody knows" in said, "removed" in said) == (0, True, True)


@pytest.mark.parametrize("command", ["gc", "verify"])
def test_a_place_without_a_store(tmp_path: Path, command: str) -> None:
    done = node(command, "--state-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path} has no store. Give the agent's --state-dir" in done.stderr
    assert not list(tmp_path.iterdir())

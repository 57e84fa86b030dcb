"""The two halves together: what a real registry serves comes onto a real node."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from flox_formats.environment import EnvironmentName
from flox_formats.signature import TrustedKeys
from registry_proxy.hub import local
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Wanted
from shim_hooks.errors import Refused, RegistryRefused
from shim_hooks.floxhub_token import FloxHubToken
from tests.integration.node_rig import running_node
from tests.integration.registry_rig import CHANGE, World, lock_of, running_registry
from tests.integration.test_node_cli import node as floxbridge_node

pytestmark = pytest.mark.anyio


async def test_push_change_and_roll_back(world: World, tmp_path: Path) -> None:
    library = world.package("library", "shared")
    hello, extra = world.package("hello", "hello", library), world.package("extra", "extra")
    world.push("Acme/web", hello)
    trusted = TrustedKeys([world.cache.public_key])
    with running_registry(world.settings()) as client:
        async with running_node(tmp_path / "node", str(client.base_url), trusted=trusted) as node:
            first = await node.realise("Acme/web")
            assert first.generation == 1
            assert {library, hello} < set(first.paths)
            program = first.folders.own / hello.base_name / "bin" / "hello"
            assert program.read_text().startswith("#!/bin/sh\necho hello\n")
            world.push("Acme/web", hello, extra)
            second = await node.realise("Acme/web")
            assert (second.generation, set(second.paths) - set(first.paths)) == (2, {extra, second.env_path})
            assert 0 < second.fetched_bytes < first.fetched_bytes
            world.switch("Acme/web", 1)
            third = await node.realise("Acme/web")
            assert (third.generation, third.env_path, third.fetched_bytes) == (1, first.env_path, 0)
    async with running_node(tmp_path / "node", "http://127.0.0.1:1", trusted=trusted) as node:
        assert (await node.realise("Acme/web")).env_path == first.env_path


async def test_a_private_environment_and_the_tokens_of_pods(world: World, tmp_path: Path) -> None:
    """Through everything that is real: hub, registry, node. What one pod brought, another one may not use."""
    hello = world.package("hello", "hello")
    local.push(world.hub, EnvironmentName.parse("acme/secret"), None, lock_of(hello), change=CHANGE, private=True)
    world.push("acme/web", world.package("web", "web"))
    tokens = world.root / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text("flox_pat_right alice acme/secret\nflox_pat_foreign bob other/*\n")
    right, foreign = FloxHubToken("flox_pat_right"), FloxHubToken("flox_pat_foreign")
    trusted = TrustedKeys([world.cache.public_key])
    with running_registry(world.settings(hub_tokens_file=tokens)) as client:
        async with running_node(tmp_path / "node", str(client.base_url), trusted=trusted) as node:
            live = Wanted(EnvironmentName.parse("acme/secret"), None, None, Mode.RUN)
            realised = await node.realise(replace(live, token=right))
            pinned = replace(live, generation=1, lockfile=realised.lockfile.digest)
            assert (await node.realise(replace(pinned, token=right))).fetched_bytes == 0
            disguised = replace(pinned, environment=EnvironmentName.parse("acme/web"))
            for wanted in (live, pinned, disguised, *(replace(each, token=foreign) for each in (live, pinned))):
                with pytest.raises(Refused if wanted is disguised else RegistryRefused):
                    await node.realise(wanted)
            assert await node.realise("acme/web")


async def test_a_private_environment_by_hand(world: World, tmp_path: Path) -> None:
    """What a person types, through everything that is real: fetched and repaired with a token from a file."""
    hello = world.package("hello", "hello")
    local.push(world.hub, EnvironmentName.parse("acme/secret"), None, lock_of(hello), change=CHANGE, private=True)
    tokens, token = world.root / "tokens", tmp_path / "token"
    tokens.touch(mode=0o600)
    tokens.write_text("flox_pat_right alice acme/secret\n")
    token.write_text("flox_pat_right\n")
    with running_registry(world.settings(hub_tokens_file=tokens)) as client:
        asked = ("--registry-url", str(client.base_url), "--state-dir", str(tmp_path / "node"))
        trusted = ("--trusted-key", str(world.cache.public_key), "--lookup-timeout-s", "30")

        def said(*arguments: str) -> str:
            done = floxbridge_node(*arguments, *asked)
            return f"{done.returncode} {done.stdout}{done.stderr}"

        refused = await asyncio.to_thread(said, "realise", "acme/secret", *trusted)
        assert refused.startswith("1 floxbridge-node: asking for acme/secret: the registry at")
        realised = await asyncio.to_thread(said, "realise", "acme/secret", "--token-file", str(token), *trusted)
        assert realised.startswith("0 acme/secret:1 is in the node's store, 2 paths\n")
        (program,) = (tmp_path / "node" / "private").glob(f"*/{hello.base_name}/bin/hello")
        right = program.read_bytes()
        program.chmod(0o755)
        program.write_text("other")
        repaired = await asyncio.to_thread(said, "verify", "--repair", "--token-file", str(token))
        assert repaired.startswith(f"0 {hello} has ")
        assert "fetched anew" in repaired
        assert program.read_bytes() == right

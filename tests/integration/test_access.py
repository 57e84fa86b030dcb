"""Who may use what lies on the node: over a real connection, with a registry that shows not everything to everyone."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flox_formats.environment import EnvironmentName
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Shown, Wanted
from shim_hooks.errors import Refused, RegistryRefused, RegistryUnavailable
from shim_hooks.floxhub_token import FloxHubToken
from tests.integration.node_rig import Node, running_node
from tests.integration.small_registry import Fault, Generation, Package, SmallRegistry, program

pytestmark = pytest.mark.anyio

HELLO, TOOL = Package.make("hello", program("hello")), Package.make("tool", program("tool"))
TOKEN, OTHER = FloxHubToken("flox_pat_mine"), FloxHubToken("flox_pat_other")


@pytest.fixture
async def node(registry: SmallRegistry, tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path, registry.url) as node:
        yield node


def pinned(generation: Generation, token: FloxHubToken | None = None, environment: str | None = None) -> Wanted:
    """As an image names it, or as an image says that it were of another environment."""
    name = generation.environment if environment is None else EnvironmentName.parse(environment)
    return Wanted(name, generation.number, generation.lockfile.digest, Mode.RUN, token)


def live(generation: Generation, token: FloxHubToken | None = None) -> Wanted:
    return Wanted(generation.environment, None, None, Mode.RUN, token)


@pytest.fixture
def public(registry: SmallRegistry) -> Generation:
    return registry.push("acme/web", 1, HELLO)


@pytest.fixture
def private(registry: SmallRegistry) -> Generation:
    registry.private["acme/secret"] = TOKEN
    return registry.push("acme/secret", 1, TOOL)


async def test_every_request_for_a_private_environment_has_the_token(
    registry: SmallRegistry, node: Node, private: Generation
) -> None:
    await node.realise(live(private, TOKEN))
    assert len(registry.heads) == 6  # index, referrers, artifact, closure document, lockfile, and the one NAR


@pytest.mark.parametrize(
    "token", [pytest.param(None, id="without-a-token"), pytest.param(OTHER, id="with-a-token-of-somebody-else")]
)
async def test_what_lies_on_the_node_grants_nothing(
    node: Node, private: Generation, token: FloxHubToken | None
) -> None:
    await node.realise(pinned(private, TOKEN))
    for wanted in (pinned(private, token), live(private, token)):
        with pytest.raises(RegistryRefused, match="acme/secret"):
            await node.realise(wanted)
    assert await node.realise(pinned(private, TOKEN))


async def test_an_image_that_says_that_a_private_lockfile_were_public(
    node: Node, public: Generation, private: Generation
) -> None:
    await node.realise(pinned(public))
    await node.realise(pinned(private, TOKEN))
    with pytest.raises(Refused, match="generation 1 of acme/web was rewritten"):
        await node.realise(pinned(private, environment="acme/web"))


async def test_who_joins_a_container_was_let_in_before(
    registry: SmallRegistry, node: Node, private: Generation
) -> None:
    await node.realise(pinned(private, TOKEN))
    registry.requests.clear()
    await node.realise(replace(pinned(private), shown=Shown.TO_ITS_PODS))
    assert registry.requests == []


async def test_a_private_environment_is_asked_for_each_time(
    registry: SmallRegistry, node: Node, public: Generation, private: Generation
) -> None:
    for generation, token in ((public, None), (private, TOKEN)):
        await node.realise(pinned(generation, token))
    registry.requests.clear()
    for _ in range(3):
        await node.realise(pinned(public))
        await node.realise(pinned(private, TOKEN))
    assert registry.requests == [f"/v2/flox/empty/acme/secret/blobs/{private.lockfile.digest}"] * 3


def away(registry: SmallRegistry) -> None:
    for path in ("/manifests/live", *(path for path in registry.contents if "/blobs/" in path)):
        registry.fail(path, Fault(status=503))


async def test_while_the_registry_is_away(
    registry: SmallRegistry, node: Node, public: Generation, private: Generation
) -> None:
    for generation, token in ((public, None), (private, TOKEN)):
        await node.realise(live(generation, token))
    away(registry)
    for wanted in (pinned(public), live(public), live(public, OTHER), pinned(private, TOKEN), live(private, TOKEN)):
        assert (await node.realise(wanted)).fetched_bytes == 0
    for wanted in (pinned(private), live(private), pinned(private, OTHER), live(private, OTHER)):
        with pytest.raises(
            RegistryUnavailable, match="acme/secret: it is not known to be public, and no token of this"
        ):
            await node.realise(wanted)


async def test_a_new_agent_while_the_registry_is_away(
    registry: SmallRegistry, tmp_path: Path, public: Generation, private: Generation
) -> None:
    async with running_node(tmp_path, registry.url) as node:
        await node.realise(live(public))
        await node.realise(live(private, TOKEN))
    async with running_node(tmp_path, "http://127.0.0.1:1") as restarted:
        assert await restarted.realise(pinned(public))
        assert await restarted.realise(live(public))
        for wanted in (pinned(private, TOKEN), live(private, TOKEN)):
            with pytest.raises(RegistryUnavailable, match="not known to be public"):
                await restarted.realise(wanted)


async def test_a_token_is_written_down_nowhere(node: Node, private: Generation) -> None:
    wanted = pinned(private, TOKEN)
    await node.realise(wanted)
    with pytest.raises(RegistryRefused) as refused:
        await node.realise(pinned(private, OTHER))
    written = b"".join(file.read_bytes() for file in node.store.root.rglob("*") if file.is_file())
    said = f"{wanted!r} {refused.value} {node.stream.getvalue()}".encode()
    for token in (TOKEN, OTHER):
        for form in (token.text, token.authorization.removeprefix("Basic ")):
            assert form.encode() not in written + said

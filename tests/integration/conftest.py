"""Fixtures of the integration tests."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.integration.hub_rig import serving
from tests.integration.node_rig import Node, running_node
from tests.integration.private_hub_rig import Hub, Served
from tests.integration.registry_rig import World
from tests.integration.small_registry import SmallRegistry


@pytest.fixture
def world(tmp_path: Path) -> World:
    needs("git")
    return World.make(tmp_path)


@pytest.fixture(scope="session")
def made_hub(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    needs("git")
    return Hub.make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def served(made_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A hub with private environments, being served to all who only read."""
    with serving(made_hub.root, "--tokens", made_hub.tokens) as url:
        yield Served(made_hub, url, tmp_path_factory.mktemp("served"))


@pytest.fixture
def hub(made_hub: Hub, tmp_path: Path) -> Hub:
    """A hub with private environments that may be changed."""
    shutil.copytree(made_hub.root.parent, tmp_path / "copy")
    return Hub(tmp_path / "copy" / "hub", tmp_path / "copy" / "tokens")


@pytest.fixture
async def registry() -> AsyncIterator[SmallRegistry]:
    """What a node asks, in few words of its own: it can be told to fail in ways that the real one should not."""
    registry = SmallRegistry()
    async with registry.serving():
        yield registry


@pytest.fixture
async def node(registry: SmallRegistry, tmp_path: Path) -> AsyncIterator[Node]:
    """A node's store and what fills it, asking `registry`."""
    async with running_node(tmp_path / "state", registry.url) as node:
        yield node

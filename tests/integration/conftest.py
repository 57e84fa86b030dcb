"""Fixtures of the integration tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.integration.hub_rig import serving
from tests.integration.private_hub_rig import Hub, Served
from tests.integration.registry_rig import World


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

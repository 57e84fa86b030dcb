"""Fixtures of the integration tests."""

from pathlib import Path

import pytest

from tests.conftest import needs
from tests.integration.registry_rig import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    needs("git")
    return World.make(tmp_path)

"""A registry for programs that nobody here wrote."""

from collections.abc import Iterator

import pytest

from tests.conftest import needs
from tests.containerds import containerd_binaries, parent, workplace
from tests.echoip import EchoIp, running_echoip

__all__ = ["containerd_binaries", "echoip", "parent", "workplace"]


@pytest.fixture(scope="session")
def echoip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoIp]:
    needs("git")
    with running_echoip(tmp_path_factory.mktemp("i")) as running:
        yield running

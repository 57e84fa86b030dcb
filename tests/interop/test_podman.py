"""podman pulls an environment image into a storage of its own."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needs, needs_root
from tests.echoip import ENVIRONMENT, EchoIp


class Podman:
    def __init__(self, folder: Path) -> None:
        places = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--tmpdir", str(folder / "tmp")]
        self._command = ["podman", *places, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    needs("podman")
    needs_root()
    made = Podman(tmp_path_factory.mktemp("p"))  # podman wants paths of at most 50 characters
    yield made
    made("rmi", "--all", "--force")


def test_pulls_by_tag_and_by_digest(echoip: EchoIp, podman: Podman) -> None:
    repository, digest = f"{echoip.host}/flox/empty/{ENVIRONMENT}", echoip.registry.digest(ENVIRONMENT)
    for reference in (f"{repository}:live", f"{repository}@{digest}"):
        pulled = podman("pull", "--quiet", "--tls-verify=false", reference)
        assert pulled.returncode == 0, pulled.stderr
        (told,) = json.loads(podman("image", "inspect", pulled.stdout.strip()).stdout)
        assert f"{repository}@{digest}" in told["RepoDigests"]
        assert told["Annotations"]["dev.flox.environment"] == ENVIRONMENT
        assert told["Config"]["Cmd"] == ["echoip"]

"""podman pulls an environment image into a storage of its own."""

import json

import pytest

from tests.echoip import ENVIRONMENT, EchoIp
from tests.podman import Podman


def test_pulls_by_tag_and_by_digest(echoip: EchoIp, tmp_path_factory: pytest.TempPathFactory) -> None:
    podman = Podman(tmp_path_factory.mktemp("p"))
    repository, digest = f"{echoip.host}/flox/empty/{ENVIRONMENT}", echoip.registry.digest(ENVIRONMENT)
    for reference in (f"{repository}:live", f"{repository}@{digest}"):
        pulled = podman("pull", "--quiet", "--tls-verify=false", reference)
        assert pulled.returncode == 0, pulled.stderr
        (told,) = json.loads(podman("image", "inspect", pulled.stdout.strip()).stdout)
        assert f"{repository}@{digest}" in told["RepoDigests"]
        assert told["Annotations"]["dev.flox.environment"] == ENVIRONMENT
        assert told["Config"]["Cmd"] == ["echoip"]

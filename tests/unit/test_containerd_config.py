import tomllib
from pathlib import Path

import pytest

from floxbridge_demo.containerd_config import ContainerdPlaces, config_toml, hosts_toml

PLACES = ContainerdPlaces(
    root=Path("/w/root"),
    state=Path("/w/state"),
    socket=Path("/w/containerd.sock"),
    opt=Path("/w/opt"),
    certs=Path("/w/certs.d"),
    runc_root=Path("/w/runc"),
    config=Path('/w/a "quoted" folder/config.toml'),
    snapshotter="overlayfs",
)


@pytest.mark.parametrize(
    ("major", "config_version", "runtime_plugin", "image_plugin"),
    [
        pytest.param(1, 2, "io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri", id="containerd-1"),
        pytest.param(2, 3, "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images", id="containerd-2"),
    ],
)
def test_each_version_has_its_own_names(
    major: int, config_version: int, runtime_plugin: str, image_plugin: str
) -> None:
    config = tomllib.loads(config_toml(major, PLACES, sandbox_image="pause:1", launcher=Path('/opt/a "b"/launcher')))
    assert config["version"] == config_version
    assert config["plugins"][image_plugin]["registry"]["config_path"] == "/w/certs.d"
    runtimes = config["plugins"][runtime_plugin]["containerd"]["runtimes"]
    assert runtimes["flox"]["options"] == {"BinaryName": '/opt/a "b"/launcher', "Root": "/w/runc"}
    assert runtimes["flox"]["pod_annotations"] == ["flox.dev/*"]
    assert runtimes["runc"]["options"]["BinaryName"] == "runc"


def test_hosts_sends_docker_io_to_the_registry_first() -> None:
    hosts = tomllib.loads(hosts_toml("http://127.0.0.1:5000"))
    assert hosts["server"] == "https://registry-1.docker.io"
    assert hosts["host"] == {"http://127.0.0.1:5000": {"capabilities": ["pull", "resolve"], "dial_timeout": "200ms"}}

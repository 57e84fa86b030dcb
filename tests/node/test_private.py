"""A private environment, by everything that is real: a pod's secret as kubelet mounts it, and pods that have none."""

from pathlib import Path

import pytest

from floxbridge_demo.cri import ContainerSpec, CriFailed, read_log
from floxbridge_demo.pod import PodSpec
from tests.echoip import TOKEN
from tests.node.conftest import Node

EMPTY = "flox/empty:1.0.0"
FOLDER = "/var/run/secrets/flox.dev"


def secret(folder: Path, token: str) -> Path:
    """A volume with one secret, as kubelet lays it out and moves it on."""
    (folder / "..2026_11_22").mkdir(parents=True)
    (folder / "..2026_11_22" / "floxhub-token").write_text(token)
    (folder / "..data").symlink_to("..2026_11_22")
    (folder / "floxhub-token").symlink_to("..data/floxhub-token")
    return folder


@pytest.fixture
def environment(node: Node) -> str:
    return node.echoip.new_private_environment(node.echoip.packages.busybox)


def said(node: Node, environment: str, volume: Path | None) -> str:
    command = ("busybox", "sh", "-c", "echo $FLOX_ENV_DESCRIPTION; busybox env")
    with node.pod(PodSpec("private", EMPTY, {"flox.dev/environment": environment})) as pod:
        mounts = {} if volume is None else {FOLDER: volume}
        container, finished = node.cri.run(pod.sandbox, ContainerSpec("private", EMPTY, command, mounts=mounts))
        assert finished.exit_code == 0, finished
        return read_log(container.log)


def test_the_pods_token_opens_it_and_another_pod_stays_out(node: Node, environment: str, tmp_path: Path) -> None:
    """Also when the other one comes later, and all of the environment lies on the node."""
    output = said(node, environment, secret(tmp_path / "alice", f"{TOKEN}\n"))
    assert output.startswith(environment)
    assert TOKEN not in output
    for volume in (None, secret(tmp_path / "bob", "flox_pat_bob"), secret(tmp_path / "nobody", "flox_pat_wrong")):
        with pytest.raises(CriFailed, match=environment):
            said(node, environment, volume)
    assert said(node, environment, secret(tmp_path / "again", TOKEN)).startswith(environment)


def test_the_token_is_written_down_nowhere(node: Node, environment: str, tmp_path: Path) -> None:
    said(node, environment, secret(tmp_path / "alice", TOKEN))
    token = TOKEN.encode()
    for folder in (node.agent.state, node.workplace.path("logs")):
        for file in folder.rglob("*"):
            assert not file.is_file() or token not in file.read_bytes(), file

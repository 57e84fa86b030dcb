"""A private environment, by everything that is real: a pod's secret as kubelet mounts it, and pods that have none."""

from pathlib import Path

import pytest

from floxbridge_demo.cri import ContainerSpec, CriFailed, read_log
from floxbridge_demo.packages import Package
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


@pytest.fixture
def payroll(node: Node, tmp_path: Path) -> Package:
    """Of a private catalog: no public cache signed it."""
    program = tmp_path / "payroll" / "bin" / "payroll"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{node.echoip.packages.busybox.path}/bin/sh\necho paid\n")
    program.chmod(0o755)
    path = node.echoip.cache.add("payroll-1.0", tmp_path / "payroll", [node.echoip.packages.busybox.path])
    return Package("payroll", "1.0", "Pays", path)


@pytest.mark.parametrize("mutable", ["false", "true"], ids=["store", "mutable-store"])
def test_its_bytes_are_seen_by_its_own_pods_alone(node: Node, payroll: Package, tmp_path: Path, mutable: str) -> None:
    """Whoever comes first; what both have, both see; who joins the container sees what it sees."""
    busybox = node.echoip.packages.busybox
    private = node.echoip.new_private_environment(busybox, payroll)
    look = (f"{busybox.path}/bin/busybox", "sh", "-c", f"busybox ls /nix/store; {payroll.path}/bin/payroll")
    volume = secret(tmp_path / "alice", TOKEN)
    names = payroll.path.base_name, f"environment-{private.partition('/')[2]}"
    told = {"flox.dev/environment": private, "flox.dev/nix-mutable": mutable}
    with node.pod(PodSpec("private", EMPTY, told)) as pod:
        command = ("busybox", "sleep", "600")
        spec = ContainerSpec("private", EMPTY, command, mounts={FOLDER: volume})
        container = node.cri.create(pod.sandbox, spec)
        node.cri.start(container)
        joined = node.cri.execute(container, *look)
        assert (joined.exit_code, [name in joined.stdout for name in names]) == (0, [True, True])
        assert joined.stdout.endswith("paid\n")
        public = {**told, "flox.dev/environment": node.echoip.new_environment(busybox)}
        with node.pod(PodSpec("public", EMPTY, public)) as other:
            seen, finished = node.cri.run(other.sandbox, ContainerSpec("public", EMPTY, look))
        said = read_log(seen.log, stream="stdout")
        assert (finished.exit_code, [name in said for name in names]) == (127, [False, False]), said
        assert busybox.path.base_name in said
        assert set(joined.stdout.splitlines()) <= set(node.cri.execute(container, *look).stdout.splitlines())


def test_the_token_is_written_down_nowhere(node: Node, environment: str, tmp_path: Path) -> None:
    said(node, environment, secret(tmp_path / "alice", TOKEN))
    token = TOKEN.encode()
    for folder in (node.agent.state, node.workplace.path("logs")):
        for file in folder.rglob("*"):
            assert not file.is_file() or token not in file.read_bytes(), file

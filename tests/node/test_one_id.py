"""Containers of one id, and which of them an exec joins: by the real programs that call the launcher."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from floxbridge_demo.installation import install_launcher, running_agent
from floxbridge_demo.program import ProgramFailed
from floxbridge_demo.workplace import Workplace
from tests.conftest import needs
from tests.echoip import EchoIp
from tests.node.conftest import Node
from tests.node.test_pods import FOREVER
from tests.node.test_runtimes import LIMITS
from tests.podman import Podman


@contextmanager
def running_by_ctr(node: Node, namespace: str, name: str, environment: str) -> Iterator[None]:
    rootfs = node.workplace.path("rootfs", f"{namespace}-{secrets.token_hex(4)}")
    for folder in ("tmp", "proc", "sys", "dev", "run", "etc", "nix/store"):
        (rootfs / folder).mkdir(parents=True)
    flags = ["--detach", "--runc-binary", str(node.launcher), "--runc-root", str(node.containerd.places.runc_root)]
    flags += ["--cgroup", f"{node.workplace.cgroup}/{namespace}", "--annotation", f"flox.dev/environment={environment}"]
    node.containerd.ctr("run", *flags, "--rootfs", str(rootfs), name, "busybox", *FOREVER, namespace=namespace)
    try:
        yield
    finally:
        node.containerd.ctr("tasks", "delete", "--force", name, namespace=namespace)
        node.containerd.ctr("containers", "delete", name, namespace=namespace)


def check_by_ctr(node: Node, namespace: str, name: str, mine: str) -> None:
    """Raises ProgramFailed unless MINE is that. By its exit code: ctr may lose the output of what ends at once."""
    command = ("busybox", "sh", "-c", f'[ "$MINE" = {mine} ]')
    node.containerd.ctr("tasks", "exec", "--exec-id", secrets.token_hex(4), name, *command, namespace=namespace)


def test_an_exec_joins_the_container_of_its_own_namespace(node: Node) -> None:
    """Each has a lease as long as it runs, whatever becomes of the other."""
    name, busybox = f"same-{secrets.token_hex(4)}", node.echoip.packages.busybox
    first, second = (f"limeytexan/e{secrets.token_hex(4)}" for _ in range(2))
    node.echoip.push(first, busybox, MINE="first")
    node.echoip.push(second, busybox, MINE="second")
    with running_by_ctr(node, "one", name, first):
        with running_by_ctr(node, "two", name, second):
            check_by_ctr(node, "one", name, "first")
            check_by_ctr(node, "two", name, "second")
            with pytest.raises(ProgramFailed):
                check_by_ctr(node, "two", name, "first")
        check_by_ctr(node, "one", name, "first")


def test_an_exec_of_podman_joins_its_container(echoip: EchoIp, workplace: Workplace) -> None:
    """podman says the same of where its runtime keeps containers at a create and at an exec."""
    needs("gcc")
    environment, name = f"limeytexan/e{secrets.token_hex(4)}", f"same-{secrets.token_hex(4)}"
    echoip.push(environment, echoip.packages.busybox, MINE="first")
    with running_agent(workplace, echoip.registry.url, echoip.cache.public_key) as agent:
        launcher = install_launcher(workplace, agent.socket)
        podman = Podman(Path(workplace.folder), "--runtime", str(launcher))
        flags = ["--detach", "--tls-verify=false", "--network", "host", "--cgroup-parent", workplace.cgroup, *LIMITS]
        image = f"{echoip.host}/flox/empty/{environment}:live"
        started = podman("run", *flags, "--name", name, image, "busybox", *FOREVER)
        assert started.returncode == 0, started.stderr
        done = podman("exec", name, "busybox", "sh", "-c", "echo $MINE")
        removed = podman("rm", "--force", "--time", "0", name)
    assert (done.returncode, done.stdout, removed.returncode) == (0, "first\n", 0), done.stderr

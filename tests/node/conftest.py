"""A node with everything on it: registry, agent, launcher, and each containerd in turn."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from floxbridge_demo.containerd import Containerd, ContainerdBinaries, running_containerd
from floxbridge_demo.cri import Cri
from floxbridge_demo.installation import Agent, install_launcher, running_agent
from floxbridge_demo.pod import PodSpec, RunningPod
from floxbridge_demo.workplace import Workplace, own_workplace
from tests.conftest import needs
from tests.containerds import containerd_binaries, parent, workplace
from tests.echoip import EchoIp, running_echoip

__all__ = ["containerd_binaries", "echoip", "node", "parent", "workplace"]


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster. Its agent and its containerd are not shared with another one."""

    echoip: EchoIp
    workplace: Workplace
    agent: Agent
    launcher: Path
    containerd: Containerd

    @property
    def cri(self) -> Cri:
        return self.containerd.cri

    @contextmanager
    def pod(self, spec: PodSpec) -> Iterator[RunningPod]:
        logs = self.workplace.path("pods", f"{spec.name}-{secrets.token_hex(4)}")
        pod = RunningPod(self.cri, spec, logs=logs, cgroup_parent=self.workplace.cgroup)
        try:
            yield pod
        finally:
            self.cri.remove_pod(pod.sandbox.id)


@pytest.fixture(scope="session")
def echoip(parent: Path) -> Iterator[EchoIp]:
    needs("git")
    with running_echoip(parent) as running:
        yield running


@pytest.fixture(scope="session")
def node(containerd_binaries: ContainerdBinaries, echoip: EchoIp, parent: Path) -> Iterator[Node]:
    needs("gcc")
    url = echoip.registry.url
    with own_workplace(parent) as workplace, running_agent(workplace, url, echoip.cache.public_key) as agent:
        launcher = install_launcher(workplace, agent.socket)
        with running_containerd(containerd_binaries, workplace, registry_url=url, launcher=launcher) as containerd:
            yield Node(echoip, workplace, agent, launcher, containerd)

"""A node whose agent or registry goes away and comes back, while pods are there."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.cri import ContainerSpec, CriFailed
from floxbridge_demo.installation import install_launcher, running_agent
from floxbridge_demo.pod import PodSpec, RunningPod
from floxbridge_demo.workplace import Workplace
from tests.conftest import needs
from tests.echoip import EchoIp

NOWHERE = "http://127.0.0.1:1"


def impatient(conf: Path) -> None:
    """It would wait ten seconds for an agent that may be restarting."""
    conf.write_text(re.sub(r"(?m)^deadline_ms=.*$", "deadline_ms=2000", conf.read_text()))


def test_pods_outlive_the_agent_and_new_ones_wait_for_it(
    echoip: EchoIp, containerd_binaries: ContainerdBinaries, workplace: Workplace
) -> None:
    needs("gcc")
    url, key = echoip.registry.url, echoip.cache.public_key
    environment = echoip.new_environment(echoip.packages.busybox)
    spec = PodSpec("outliving", f"flox/empty/{environment}:live")
    sleeper = ContainerSpec("sleeper", spec.image, ("busybox", "sleep", "600"))
    with ExitStack() as undo:
        agent = undo.enter_context(running_agent(workplace, url, key))
        launcher = install_launcher(workplace, agent.socket)
        cri = undo.enter_context(
            running_containerd(containerd_binaries, workplace, registry_url=url, launcher=launcher)
        ).cri
        pod = RunningPod(cri, spec, logs=workplace.path("pods", "one"), cgroup_parent=workplace.cgroup).sandbox
        cri.pull(spec.image)
        running = cri.create(pod, sleeper)
        cri.start(running)

        agent.program.kill()
        impatient(launcher.with_name("floxbridge-runc.conf"))
        with pytest.raises(CriFailed, match="agent"):
            cri.start(cri.create(pod, sleeper, attempt=1))
        busybox = f"{echoip.packages.busybox.path}/bin/busybox"
        assert cri.execute(running, busybox, "echo", "still here").stdout == "still here\n"
        cri.stop(running)
        cri.remove(running)

        # Nothing is asked over the network: the image names its lockfile, and the closure is complete on the node.
        undo.enter_context(running_agent(workplace, NOWHERE, key))
        again = cri.create(pod, sleeper, attempt=2)
        cri.start(again)
        assert cri.execute(again, busybox, "echo", "back").stdout == "back\n"

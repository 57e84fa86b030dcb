"""The private containerd by itself, with plain runc: it runs pods, and nothing of it stays behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.containerd_config import PLAIN_HANDLER
from floxbridge_demo.cri import ContainerSpec, CriFailed, read_log
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE
from floxbridge_demo.workplace import Workplace, own_workplace
from tests.node.leftovers import leftovers

NOWHERE = "http://127.0.0.1:1"
RUNC = Path("/usr/sbin/runc")

# Runs a pod with a container in it, and tells the folder; then it waits to be killed.
ABANDONED = """
import sys, time
from pathlib import Path
from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.cri import ContainerSpec
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE
from floxbridge_demo.workplace import own_workplace
binaries, runc = ContainerdBinaries.find(Path(sys.argv[2])), Path("runc")
with own_workplace(Path(sys.argv[1])) as workplace:
    with running_containerd(binaries, workplace, registry_url="http://127.0.0.1:1", launcher=runc) as containerd:
        pod = containerd.cri.run_pod("left", logs=workplace.path("pods", "left"), cgroup_parent=workplace.cgroup)
        containerd.cri.start(containerd.cri.create(pod, ContainerSpec("sleeper", SANDBOX_IMAGE)))
        print(workplace.folder, flush=True)
        time.sleep(600)
"""


def test_runs_a_pod(containerd_binaries: ContainerdBinaries, workplace: Workplace) -> None:
    with running_containerd(containerd_binaries, workplace, registry_url=NOWHERE, launcher=RUNC) as containerd:
        cri = containerd.cri
        assert cri.missing_conditions() == {}
        pod = cri.run_pod("plain", logs=workplace.path("pods", "plain"), handler=PLAIN_HANDLER)

        ended = cri.create(pod, ContainerSpec("ended", SANDBOX_IMAGE, ("/bin/busybox", "sh", "-c", "echo $A; exit 3")))
        cri.start(ended)
        assert cri.wait(ended).exit_code == 3

        told = ContainerSpec("told", SANDBOX_IMAGE, ("/bin/busybox", "sh", "-c", "echo $A"), env={"A": "one  two"})
        container = cri.create(pod, told)
        cri.start(container)
        assert cri.wait(container).exit_code == 0
        assert read_log(container.log) == "one two\n"

        running = cri.create(pod, ContainerSpec("running", SANDBOX_IMAGE))
        cri.start(running)
        executed = cri.execute(running, "/bin/busybox", "sh", "-c", "echo out; echo err >&2; exit 4")
        assert (executed.exit_code, executed.stdout, executed.stderr) == (4, "out\n", "err\n")

        with pytest.raises(CriFailed, match="PullImage"):
            cri.pull("docker.io/flox/empty:1.0.0")
    assert leftovers(workplace) == []


def test_a_killed_run_is_swept(containerd_binaries: ContainerdBinaries, parent: Path) -> None:
    command = [sys.executable, "-c", ABANDONED, str(parent), str(containerd_binaries.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        abandoned = Workplace(Path(run.stdout.readline().strip()))
        run.kill()
    assert {it.split(":")[0] for it in leftovers(abandoned)} == {"process", "mount", "cgroup"}
    with own_workplace(parent):
        assert leftovers(abandoned) == []
        assert not abandoned.folder.exists()

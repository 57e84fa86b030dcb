"""The matrix: everything that may stand around the launcher, each really run with the same environment.

what calls the launcher        containerd 1.6, 1.7, 2.x by CRI and by `ctr run --runc-binary`; podman; nobody
what the launcher runs         runc, crun
"""

import asyncio
import re
import secrets
import subprocess
from pathlib import Path

import pytest

from floxbridge_demo.installation import install_launcher, running_agent
from floxbridge_demo.pod import PodSpec
from floxbridge_demo.program import ProgramFailed
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE
from floxbridge_demo.workplace import Workplace
from tests.conftest import needs, needs_root
from tests.echoip import ENVIRONMENT, EchoIp
from tests.node import runc_rig
from tests.node.conftest import Node
from tests.node.runc_rig import launcher
from tests.podman import Podman

__all__ = ["bare", "launcher"]
MANUAL = (Path(__file__).parents[2] / "docs" / "node.md").read_text()
TOLD = f"environment: {ENVIRONMENT}"
# podman asks for more than a virtual machine without CAP_SYS_RESOURCE may give
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
bare = runc_rig.node


# ---- containerd ----


def test_containerd_by_cri(node: Node) -> None:
    with node.pod(PodSpec("matrix", "flox/empty:1.0.0", {"flox.dev/environment": ENVIRONMENT}, ("echoip",))) as pod:
        assert TOLD in pod.turn().output


def test_containerd_by_ctr(node: Node) -> None:
    """`ctr` takes no image by CRI, and no annotation from a pod: the container's own is what counts."""
    assert TOLD in run_by_ctr(node, ENVIRONMENT)


def test_containerd_by_ctr_is_refused(node: Node) -> None:
    with pytest.raises(ProgramFailed, match="no environment limeytexan/nothing"):
        run_by_ctr(node, "limeytexan/nothing")


def run_by_ctr(node: Node, environment: str) -> str:
    name = f"ctr-{secrets.token_hex(4)}"
    flags = ["--rm", "--snapshotter", node.containerd.places.snapshotter, "--runc-binary", str(node.launcher)]
    flags += ["--runc-root", str(node.containerd.places.runc_root), "--cgroup", f"{node.workplace.cgroup}/{name}"]
    return node.containerd.ctr(
        "run", *flags, "--annotation", f"flox.dev/environment={environment}", SANDBOX_IMAGE, name, "echoip"
    )


def test_the_manual_names_this_containerd(node: Node) -> None:
    major, minor, _ = node.containerd.binaries.version
    assert f"{major}.{minor}" in manual_on("containerd")


# ---- podman, and nobody at all; runc and crun ----


RUNTIMES = ["runc", "crun"]
UNIFIED = Path("/sys/fs/cgroup/unified/cgroup.controllers")


def where_it_works(runtime: str) -> tuple[str, ...]:
    """What a command is to begin with, so that the runtime works on this machine.

    crun takes no machine whose control groups are of version 1 and of version 2, with controllers in both. There it
    is run where version 2 is not to be seen, which is as good as a machine of version 1.
    """
    needs_root()
    needs(runtime)
    if runtime == "crun" and UNIFIED.exists() and UNIFIED.read_text().strip():
        hidden = 'mount --make-rprivate / && umount /sys/fs/cgroup/unified && exec "$@"'
        return ("unshare", "--mount", "sh", "-c", hidden, "sh")
    return ()


@pytest.mark.parametrize(
    ("environment", "image", "exit_code", "told"),
    [
        pytest.param(None, f"/flox/empty/{ENVIRONMENT}:live", 0, TOLD, id="by-image"),
        pytest.param(ENVIRONMENT, "/flox/empty:1.0.0", 0, TOLD, id="by-annotation"),
        pytest.param("limeytexan/nothing", "/flox/empty:1.0.0", 126, "no environment limeytexan/nothing", id="refused"),
    ],
)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_podman(
    echoip: EchoIp,
    workplace: Workplace,
    runtime: str,
    environment: str | None,
    image: str,
    exit_code: int,
    told: str,
) -> None:
    needs("gcc")
    with running_agent(workplace, echoip.registry.url, echoip.cache.public_key) as agent:
        launcher = install_launcher(workplace, agent.socket)
        choose(launcher.with_name("floxbridge-runc.conf"), runtime)
        podman = Podman(workplace.folder, "--runtime", str(launcher), before=where_it_works(runtime))
        flags = ["--rm", "--tls-verify=false", "--network", "host", "--cgroup-parent", workplace.cgroup, *LIMITS]
        flags += ["--annotation", f"flox.dev/environment={environment}"] if environment else []
        done = podman("run", *flags, echoip.host + image, "echoip")
    assert done.returncode == exit_code, done.stderr
    assert told in done.stdout + done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_the_launcher_by_itself(bare: runc_rig.Node, runtime: str) -> None:
    rig = bare.rig.folder
    choose(rig / "floxbridge-runc.conf", runtime)
    bundle = bare.bundle(["busybox", "sh", "-c", "echo $GREETING from $$; exit 7"])
    command = [*where_it_works(runtime), str(rig / "floxbridge-runc"), "--root", str(rig / "root"), "run"]
    command += ["--bundle", str(bundle), f"floxbridge-test-{secrets.token_hex(4)}"]
    async with bare.agent():
        ran = await asyncio.to_thread(
            lambda: subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        )
    assert (ran.returncode, ran.stdout) == (7, "hello world from 1\n"), ran.stderr


def choose(conf: Path, runtime: str) -> None:
    text = conf.read_text()
    assert "runtime=runc\n" in text
    conf.write_text(text.replace("runtime=runc\n", f"runtime={runtime}\n"))


@pytest.mark.parametrize("program", [*RUNTIMES, "podman"])
def test_the_manual_names_this_version(program: str) -> None:
    needs(program)
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    version = re.search(r"version ([0-9]+\.[0-9]+)", said)
    assert version is not None
    assert version[1] in manual_on(program)


def manual_on(program: str) -> str:
    """The manual's row on what was tested."""
    (row,) = [line for line in MANUAL.splitlines() if line.startswith(f"| {program} | tested ")]
    return row

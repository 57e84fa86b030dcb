"""The matrix: everything that may stand around the launcher, each really run with the same environment.

what calls the launcher        containerd 1.6, 1.7, 2.x by CRI and by `ctr run --runc-binary`; podman; nobody
what the launcher runs         runc, crun
control groups                 as this machine has them; version 1 alone; version 2 alone

Where version 2 stands beside version 1, as on the machine that these were written on, it can limit nothing: there
containers on version 2 alone are run without the limits that containerd and podman ask for.
"""

import asyncio
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from floxbridge_demo.busybox import static_busybox
from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.installation import install_launcher, running_agent
from floxbridge_demo.pod import PodSpec
from floxbridge_demo.program import ProgramFailed
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE, sandbox_image_archive
from floxbridge_demo.workplace import Workplace, own_workplace
from tests.conftest import cannot_run, needs, needs_root
from tests.containerds import NEWER_CRUN
from tests.control_groups import runtime_in, seeing_version
from tests.echoip import ENVIRONMENT, EchoIp
from tests.node import runc_rig
from tests.node.conftest import Node
from tests.node.runc_rig import launcher
from tests.podman import Podman

__all__ = ["bare", "launcher"]
MANUAL = (Path(__file__).parents[2] / "docs" / "node.md").read_text()
TOLD = f"environment: {ENVIRONMENT}"
# podman asks for more than a virtual machine without CAP_SYS_RESOURCE, or version 2 beside version 1, can give
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--pids-limit", "0")
bare = runc_rig.node


# ---- containerd ----


def test_containerd_by_cri(node: Node) -> None:
    assert TOLD in run_by_cri(node)


def test_containerd_by_ctr(node: Node) -> None:
    """`ctr` takes no image by CRI, and no annotation from a pod: the container's own is what counts."""
    assert TOLD in run_by_ctr(node, ENVIRONMENT)


def test_containerd_by_ctr_is_refused(node: Node) -> None:
    with pytest.raises(ProgramFailed, match="no environment limeytexan/nothing"):
        run_by_ctr(node, "limeytexan/nothing")


def run_by_cri(node: Node) -> str:
    with node.pod(PodSpec("matrix", "flox/empty:1.0.0", {"flox.dev/environment": ENVIRONMENT}, ("echoip",))) as pod:
        return pod.turn().output


def run_by_ctr(node: Node, environment: str) -> str:
    name = f"ctr-{secrets.token_hex(4)}"
    flags = ["--rm", "--snapshotter", node.containerd.places.snapshotter, "--runc-binary", str(node.launcher)]
    flags += ["--runc-root", str(node.containerd.places.runc_root), "--cgroup", f"{node.workplace.cgroup}/{name}"]
    return node.containerd.ctr(
        "run", *flags, "--annotation", f"flox.dev/environment={environment}", SANDBOX_IMAGE, name, "echoip"
    )


# ---- containerd, runc and crun, each version of control groups ----


@dataclass(frozen=True, slots=True)
class Machine:
    node: Node
    version: int


@pytest.fixture(scope="session", params=[pytest.param(1, id="cgroup-v1"), pytest.param(2, id="cgroup-v2")])
def machine(
    request: pytest.FixtureRequest, containerd_binaries: ContainerdBinaries, echoip: EchoIp, parent: Path
) -> Iterator[Machine]:
    """A node all of whose programs see one version of control groups."""
    needs("gcc")
    url = echoip.registry.url
    with own_workplace(parent) as workplace, seeing_version(request.param, workplace) as before, ExitStack() as undo:
        agent = undo.enter_context(running_agent(workplace, url, echoip.cache.public_key, before=before))
        launcher = install_launcher(workplace, agent.socket)
        started = running_containerd(containerd_binaries, workplace, registry_url=url, launcher=launcher, before=before)
        yield Machine(Node(echoip, workplace, agent, launcher, undo.enter_context(started)), request.param)


@pytest.mark.parametrize("runtime", ["runc", NEWER_CRUN], ids=["runc", "crun"])
def test_containerd_with_one_version(machine: Machine, runtime: str) -> None:
    needs_runtime(runtime)
    node = machine.node
    choose(node.launcher.with_name("floxbridge-runc.conf"), runtime_in(machine.version, runtime, node.workplace))
    assert TOLD in run_by_cri(node)
    assert TOLD in run_by_ctr(node, ENVIRONMENT)


def test_the_manual_names_this_containerd(containerd_binaries: ContainerdBinaries) -> None:
    major, minor, _ = containerd_binaries.version
    assert f"{major}.{minor}" in manual_on("containerd")


# ---- podman, and nobody at all; runc and crun ----


RUNTIMES = [
    pytest.param("runc", None, id="runc"),
    # crun takes no machine whose control groups are of both versions, with controllers in each
    pytest.param("crun", 1, id="crun-on-v1"),
    pytest.param("runc", 2, id="runc-on-v2"),
    pytest.param(NEWER_CRUN, 2, id="crun-on-v2"),
]


@contextmanager
def podman_over(echoip: EchoIp, workplace: Workplace, runtime: str, version: int | None) -> Iterator[Podman]:
    """With an agent, and the launcher in front of a runtime that sees one version of control groups."""
    needs("gcc")
    needs_runtime(runtime)
    with (
        running_agent(workplace, echoip.registry.url, echoip.cache.public_key) as agent,
        seeing_version(version, workplace) as before,
    ):
        launcher = install_launcher(workplace, agent.socket)
        choose(launcher.with_name("floxbridge-runc.conf"), runtime)
        yield Podman(workplace.folder, "--runtime", str(launcher), before=before)


@pytest.mark.parametrize(
    ("environment", "image", "exit_code", "told"),
    [
        pytest.param(None, f"/flox/empty/{ENVIRONMENT}:live", 0, TOLD, id="by-image"),
        pytest.param(ENVIRONMENT, "/flox/empty:1.0.0", 0, TOLD, id="by-annotation"),
        pytest.param("limeytexan/nothing", "/flox/empty:1.0.0", 126, "no environment limeytexan/nothing", id="refused"),
    ],
)
@pytest.mark.parametrize(("runtime", "version"), RUNTIMES)
def test_podman(
    echoip: EchoIp,
    workplace: Workplace,
    runtime: str,
    version: int | None,
    environment: str | None,
    image: str,
    exit_code: int,
    told: str,
) -> None:
    with podman_over(echoip, workplace, runtime, version) as podman:
        flags = ["--rm", "--tls-verify=false", "--network", "host", "--cgroup-parent", workplace.cgroup, *LIMITS]
        flags += ["--annotation", f"flox.dev/environment={environment}"] if environment else []
        done = podman("run", *flags, echoip.host + image, "echoip")
    assert done.returncode == exit_code, done.stderr
    assert told in done.stdout + done.stderr


def test_a_pod_of_podmans(echoip: EchoIp, workplace: Workplace) -> None:
    """The container that holds its namespaces comes from no environment, and the others do."""
    needs("gcc")
    with running_agent(workplace, echoip.registry.url, echoip.cache.public_key) as agent:
        launcher = install_launcher(workplace, agent.socket)
        conf = workplace.path("containers.conf")
        conf.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\npids_limit = 0\n')
        before = ("env", f"CONTAINERS_CONF={conf}")
        podman = Podman(workplace.folder, "--runtime", str(launcher), before=before)
        archive = workplace.path("sandbox.tar")
        archive.write_bytes(sandbox_image_archive(static_busybox()))
        sandbox = podman("pull", f"oci-archive:{archive}").stdout.strip()
        pod = ["--name", "pod", "--network", "host", "--cgroup-parent", workplace.cgroup, "--infra-image", sandbox]
        made = podman("pod", "create", *pod)
        try:
            told = ["--annotation", f"flox.dev/environment={ENVIRONMENT}", "--tls-verify=false"]
            done = podman("run", "--rm", "--pod", "pod", *told, f"{echoip.host}/flox/empty:1.0.0", "echoip")
        finally:
            podman("pod", "rm", "--force", "--time", "0", "pod")
    assert done.returncode == 0, (made.stderr, done.stderr)
    assert TOLD in done.stdout


@pytest.mark.anyio
@pytest.mark.parametrize(("runtime", "version"), RUNTIMES)
async def test_the_launcher_by_itself(
    bare: runc_rig.Node, workplace: Workplace, runtime: str, version: int | None
) -> None:
    needs_runtime(runtime)
    rig = bare.rig.folder
    choose(rig / "floxbridge-runc.conf", runtime)
    bundle = bare.bundle(["busybox", "sh", "-c", "echo $GREETING from $$; exit 7"])
    command = [str(rig / "floxbridge-runc"), "--root", str(rig / "root"), "run"]
    command += ["--bundle", str(bundle), f"floxbridge-test-{secrets.token_hex(4)}"]
    with seeing_version(version, workplace) as before:
        async with bare.agent():
            ran = await asyncio.to_thread(
                lambda: subprocess.run([*before, *command], capture_output=True, text=True, timeout=60, check=False)
            )
    assert (ran.returncode, ran.stdout) == (7, "hello world from 1\n"), ran.stderr


def needs_runtime(runtime: str) -> None:
    needs_root()
    if runtime == NEWER_CRUN and not Path(runtime).exists():
        cannot_run(f"no {runtime}; `make test` gets it on Debian")
    needs(runtime)


def choose(conf: Path, runtime: str) -> None:
    conf.write_text(re.sub(r"(?m)^runtime=.*$", f"runtime={runtime}", conf.read_text()))


@pytest.mark.parametrize("program", ["runc", "crun", pytest.param(NEWER_CRUN, id="newer-crun"), "podman"])
def test_the_manual_names_this_version(program: str) -> None:
    if program != "podman":
        needs_runtime(program)
    needs(program)
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    version = re.search(r"version ([0-9]+\.[0-9]+)", said)
    assert version is not None
    assert version[1] in manual_on(Path(program).name)


def manual_on(program: str) -> str:
    """The manual's row on what was tested."""
    (row,) = [line for line in MANUAL.splitlines() if line.startswith(f"| {program} | tested ")]
    return row

"""A scripted activation, and a process that joins it, under everything that may stand around the launcher."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from floxbridge_demo.program import ProgramFailed
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE
from floxbridge_demo.workplace import Workplace
from tests.control_groups import seeing_version
from tests.echoip import EchoIp
from tests.node import runc_rig
from tests.node.conftest import Node
from tests.node.pushed import bash_package, push
from tests.node.runc_rig import launcher
from tests.node.scripted_rig import Sleeper, change, environment
from tests.node.test_runtimes import LIMITS, RUNTIMES, needs_runtime, podman_over

__all__ = ["launcher"]
bare = runc_rig.node

HOOK = {"on-activate": "export HOOKED=$V"}
SLEEP = ("busybox", "sleep", "1000")
ASK = ("busybox", "sh", "-c", "echo $HOOKED")


@pytest.fixture(scope="session")
def scripted(echoip: EchoIp, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with a hook, by name."""
    packages = (echoip.packages.busybox, bash_package(echoip))
    name = f"limeytexan/scripted-{secrets.token_hex(4)}"
    return push(
        echoip,
        tmp_path_factory.mktemp("scripted") / "pushed",
        name,
        *packages,
        vars={"V": "$FLOX_ENV_CACHE/v"},
        hook=HOOK,
    )


def test_under_ctr(node: Node, scripted: str) -> None:
    """By exit codes: ctr may lose the output of what ends at once."""
    with by_ctr(node, scripted) as name:
        node.containerd.ctr("tasks", "exec", "--exec-id", "joined", name, "busybox", "sh", "-c", "[ $HOOKED = /tmp/v ]")
        with pytest.raises(ProgramFailed):
            node.containerd.ctr("tasks", "exec", "--exec-id", "other", name, "busybox", "sh", "-c", "[ $HOOKED = no ]")


@contextmanager
def by_ctr(node: Node, environment: str) -> Iterator[str]:
    """A container that goes on, by name."""
    name, places = f"ctr-{secrets.token_hex(4)}", node.containerd.places
    flags = ["--detach", "--snapshotter", places.snapshotter, "--runc-binary", str(node.launcher)]
    flags += ["--runc-root", str(places.runc_root), "--cgroup", f"{node.workplace.cgroup}/{name}"]
    told = f"flox.dev/environment={environment}"
    node.containerd.ctr("run", *flags, "--annotation", told, SANDBOX_IMAGE, name, *SLEEP)
    try:
        yield name
    finally:
        node.containerd.ctr("tasks", "delete", "--force", name)
        node.containerd.ctr("containers", "delete", name)


@pytest.mark.parametrize(("runtime", "version"), RUNTIMES)
def test_under_podman(echoip: EchoIp, workplace: Workplace, scripted: str, runtime: str, version: int | None) -> None:
    with podman_over(echoip, workplace, runtime, version) as podman:
        flags = ["--detach", "--tls-verify=false", "--network", "host", "--cgroup-parent", workplace.cgroup, *LIMITS]
        began = podman("run", *flags, "--name", "c1", f"{echoip.host}/flox/empty/{scripted}:live", *SLEEP)
        try:
            joined = podman("exec", "c1", *ASK)
        finally:
            podman("rm", "--force", "--time", "0", "c1")
    assert (began.returncode, joined.returncode, joined.stdout) == (0, 0, "/tmp/v\n"), (began.stderr, joined.stderr)


@pytest.mark.anyio
@pytest.mark.parametrize(("runtime", "version"), RUNTIMES)
async def test_the_launcher_by_itself(
    bare: runc_rig.Node, workplace: Workplace, runtime: str, version: int | None
) -> None:
    """As a user without a name, whose record nobody else reads."""
    needs_runtime(runtime)
    bare.configure(runtime=runtime)
    told = environment(bare, vars={"V": "$FLOX_ENV_CACHE/v"}, hook=HOOK)
    container_id = f"floxbridge-test-{secrets.token_hex(4)}"
    bundle = bare.bundle(list(SLEEP), annotations=told)
    change(bundle, lambda spec: spec["process"].update(user={"uid": 12345, "gid": 54321}))
    container = Sleeper(bare, bundle, container_id)
    with seeing_version(version, workplace) as before:
        bare.before = before
        async with bare.agent():
            await asyncio.to_thread(bare.run_detached, bundle, container_id)
            try:
                joined = await container.execute(*ASK, uid=12345)
                other = await container.execute(*ASK, uid=4711)
            finally:
                await asyncio.to_thread(bare.run, "delete", "--force", container_id)
    assert (joined.returncode, joined.stdout, joined.stderr) == (0, "/tmp/v\n", "")
    assert (other.returncode, other.stdout) == (0, "\n")

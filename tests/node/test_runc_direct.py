"""A container under the real runc, through the real launcher and the agent, without containerd in between."""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from floxbridge_demo.busybox import BusyboxMissing, static_busybox
from shim_hooks.agent_socket import AgentServer, listening
from shim_hooks.launcher.build import build_launcher
from shim_hooks.log import Log
from tests.conftest import cannot_run, needs, needs_root
from tests.integration.agent_rig import WEB, AgentRig, image, lockfile

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("cc")
    output = tmp_path_factory.mktemp("launcher") / "floxbridge-runc"
    build_launcher(output)
    return output


class Node:
    """A launcher in front of runc, an agent behind it, and an environment that holds busybox."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.rig, self._folder = AgentRig(folder), folder
        self.socket = folder / "run" / "agent.sock"
        self._launcher = folder / "floxbridge-runc"
        self._launcher.write_bytes(launcher.read_bytes())
        self._launcher.chmod(0o755)
        (folder / "floxbridge-runc.conf").write_text(f"runtime=runc\nsocket={self.socket}\ndeadline_ms=60000\n")
        self.lock = lockfile(vars={"GREETING": "hello world"})
        self.path = self.rig.environments.add(WEB, self.lock)
        busybox = folder / "state" / "store" / self.path.base_name / "bin" / "busybox"
        busybox.write_bytes(static_busybox().read_bytes())
        busybox.chmod(0o555)

    def bundle(
        self, args: list[str], *, env: list[str] | None = None, annotations: dict[str, str] | None = None
    ) -> Path:
        specimen = self._folder / "specimen"
        specimen.mkdir(exist_ok=True)
        if not (specimen / "config.json").exists():
            subprocess.run(["runc", "spec"], cwd=specimen, check=True)
        spec = json.loads((specimen / "config.json").read_text())
        spec["process"].update(terminal=False, args=args)
        process = {**spec["process"], "env": image(self.lock) if env is None else env}
        members = {name: value for name, value in spec.items() if name not in ("process", "annotations")}
        return self.rig.bundle(annotations=annotations, **{**members, "process": process})

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self._launcher), "--root", str(self._folder / "runc"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def run_detached(self, bundle: Path, container_id: str) -> None:
        """With nothing of ours open in it: a pipe would not end before the container does."""
        root = ["--root", str(self._folder / "runc")]
        command = [str(self._launcher), *root, "run", "--detach", "--bundle", str(bundle), container_id]
        nowhere = subprocess.DEVNULL
        subprocess.run(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=60, check=True)

    @contextlib.asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        with listening(self.socket) as listener:
            serving = asyncio.create_task(AgentServer(self.rig.agent, Log()).serve(listener, stop, grace_s=20))
            try:
                yield
            finally:
                stop.set()
                await serving


@pytest.fixture
def node(tmp_path: Path, launcher: Path) -> Node:
    needs_root()
    needs("runc")
    try:
        return Node(tmp_path, launcher)
    except BusyboxMissing as error:
        cannot_run(str(error))
        raise


async def _ran(node: Node, bundle: Path) -> "subprocess.CompletedProcess[str]":
    async with node.agent():
        return await asyncio.to_thread(
            node.run, "run", "--bundle", str(bundle), f"floxbridge-test-{bundle.parent.name}"
        )


async def test_the_command_is_found_and_has_its_variables(node: Node) -> None:
    ran = await _ran(node, node.bundle(["busybox", "env"]))
    assert (ran.returncode, ran.stderr) == (0, "")
    found = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert (found["PATH"], found["FLOX_ENV"]) == (f"{node.path}/bin:/bin", str(node.path))
    assert found["GREETING"] == "hello world"
    assert not [name for name in found if name.startswith("FLOXBRIDGE_")]


async def test_the_command_is_the_containers_first_process(node: Node) -> None:
    ran = await _ran(node, node.bundle(["busybox", "sh", "-c", "echo $$; exit 7"]))
    assert (ran.returncode, ran.stdout) == (7, "1\n")


async def test_the_store_is_read_only_and_tmp_is_not(node: Node) -> None:
    script = f"busybox touch {node.path}/x 2>&1; busybox touch /nix/store/x 2>&1; echo ok >/tmp/x && busybox cat /tmp/x"
    ran = await _ran(node, node.bundle(["busybox", "sh", "-c", script]))
    assert ran.stdout.count("Read-only file system") == 2
    assert ran.stdout.endswith("ok\n")


async def test_on_top_of_an_ordinary_image(node: Node) -> None:
    bundle = node.bundle(["/bin/env"], env=["PATH=/bin"], annotations={"flox.dev/environment": f"{WEB}:1"})
    (bundle / "rootfs" / "bin").mkdir()
    (bundle / "rootfs" / "bin" / "env").symlink_to(f"{node.path}/bin/busybox")
    (bundle / "rootfs" / "tmp").mkdir()
    ran = await _ran(node, bundle)
    assert f"FLOX_ENV={node.path}\n" in ran.stdout


async def test_an_exec_joins_the_environment(node: Node) -> None:
    bundle = node.bundle(["busybox", "sleep", "1000"])
    process = bundle / "exec.json"
    text = json.dumps({"args": ["busybox", "env"], "cwd": "/", "env": image(node.lock), "user": {"uid": 0, "gid": 0}})
    container_id = "floxbridge-test-exec"
    async with node.agent():
        await asyncio.to_thread(node.run_detached, bundle, container_id)
        try:
            process.write_text(text)
            ran = await asyncio.to_thread(node.run, "exec", "--process", str(process), container_id)
            assert ran.returncode == 0, ran.stderr
            assert f"PATH={node.path}/bin:/bin\n" in ran.stdout
            assert "GREETING=hello world\n" in ran.stdout
            assert "FLOXBRIDGE_" not in ran.stdout
        finally:
            deleted = await asyncio.to_thread(node.run, "delete", "--force", container_id)
    assert deleted.returncode == 0


async def test_without_an_agent_nothing_is_created(node: Node) -> None:
    bundle = node.bundle(["busybox", "env"])
    ran = await asyncio.to_thread(node.run, "run", "--bundle", str(bundle), "floxbridge-test")
    assert ran.returncode == 1
    assert "floxbridge agent does not answer at" in ran.stderr
    assert "FLOXBRIDGE_ENVIRONMENT" in (bundle / "config.json").read_text()
    assert json.loads(node.run("list", "--format", "json").stdout) is None

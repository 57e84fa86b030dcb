"""The real runc behind the real launcher and the agent, without containerd in between. Fixtures, for who wants them."""

import asyncio
import contextlib
import json
import secrets
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from floxbridge_demo.busybox import BusyboxMissing, static_busybox
from shim_hooks.agent_listener import listening
from shim_hooks.agent_socket import AgentServer
from shim_hooks.launcher.build import build_launcher
from shim_hooks.log import Log
from tests.conftest import cannot_run, needs, needs_root
from tests.integration.agent_rig import WEB, AgentRig, image, lockfile


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("cc")
    output = tmp_path_factory.mktemp("launcher") / "floxbridge-runc"
    build_launcher(output)
    return output


class Node:
    """A launcher in front of runc, an agent behind it, and an environment that holds busybox.

    `before` is what the launcher is run by, as words before its own.
    """

    before: tuple[str, ...] = ()

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.rig, self._folder = AgentRig(folder), folder
        self.socket = folder / "run" / "agent.sock"
        self._launcher = folder / "floxbridge-runc"
        self._launcher.write_bytes(launcher.read_bytes())
        self._launcher.chmod(0o755)
        self.configure()
        self.lock = lockfile(vars={"GREETING": "hello world"})
        self.path = self.rig.environments.add(WEB, self.lock)
        busybox = folder / "state" / "store" / self.path.base_name / "bin" / "busybox"
        busybox.write_bytes(static_busybox().read_bytes())
        busybox.chmod(0o555)

    def configure(self, *, runtime: str = "runc", deadline_ms: int = 60_000) -> None:
        conf = self._launcher.with_name("floxbridge-runc.conf")
        conf.write_text(f"runtime={runtime}\nsocket={self.socket}\ndeadline_ms={deadline_ms}\n")

    def bundle(
        self,
        args: list[str],
        *,
        name: str = "c1",
        env: list[str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> Path:
        specimen = self._folder / "specimen"
        specimen.mkdir(exist_ok=True)
        if not (specimen / "config.json").exists():
            subprocess.run(["runc", "spec"], cwd=specimen, check=True)
        spec = json.loads((specimen / "config.json").read_text())
        spec["process"].update(terminal=False, args=args)
        default = image(self.lock) if annotations is None else ["PATH=/bin"]
        process = {**spec["process"], "env": default if env is None else env}
        members = {name: value for name, value in spec.items() if name not in ("process", "annotations")}
        return self.rig.bundle(name, annotations=annotations, **{**members, "process": process})

    def command(self, *arguments: str) -> list[str]:
        return [*self.before, str(self._launcher), "--root", str(self._folder / "runc"), *arguments]

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        command = self.command(*arguments)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def run_detached(self, bundle: Path, container_id: str) -> None:
        """With nothing of ours open in it: a pipe would not end before the container does."""
        command = self.command("run", "--detach", "--bundle", str(bundle), container_id)
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

    async def ran(self, bundle: Path, *, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """With an agent for as long as it runs."""
        container_id = f"floxbridge-test-{secrets.token_hex(4)}"
        async with self.agent():
            return await asyncio.to_thread(lambda: self.run("run", "--bundle", str(bundle), container_id, stdin=stdin))


@pytest.fixture
def node(tmp_path: Path, launcher: Path) -> Node:
    return make_node(tmp_path, launcher)


def make_node(folder: Path, launcher: Path) -> Node:
    needs_root()
    needs("runc")
    try:
        return Node(folder, launcher)
    except BusyboxMissing as error:
        cannot_run(str(error))
        raise

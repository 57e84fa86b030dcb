"""Containers under the real runc whose environments are activated by script. Fixtures, for who wants them."""

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from flox_formats.lockfile import Lockfile
from tests.conftest import cannot_run
from tests.integration.agent_rig import WEB, lockfile
from tests.node.runc_rig import Node

_BASH = Path("/bin/bash-static")

ENV = ["busybox", "env"]
ENV_0 = ["bash", "-c", "while IFS= read -r -d '' e; do printf '%s\\0' \"$e\"; done </proc/self/environ"]


@pytest.fixture
def shell(node: Node) -> Node:
    if not _BASH.exists():
        cannot_run("no static bash; `make setup` as root installs bash-static on Debian")
    return node


def environment(
    node: Node, files: dict[str, str] | None = None, *, lock: Lockfile | None = None, **manifest: Any
) -> dict[str, str]:
    """A new generation of acme/web with busybox and bash; the annotation that asks for it."""
    path = node.rig.environments.add(WEB, lock or lockfile(**manifest), files)
    programs = node.rig.environments.store_dir / path.base_name / "bin"
    (programs / "bash").write_bytes(_BASH.read_bytes())
    (programs / "busybox").hardlink_to(node.rig.environments.store_dir / node.path.base_name / "bin" / "busybox")
    (programs / "bash").chmod(0o555)
    return {"flox.dev/environment": str(WEB)}


def said(ran: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """The output of `env`, or of `env -0` where a value has lines."""
    separator = "\0" if "\0" in ran.stdout else "\n"
    return dict(entry.split("=", 1) for entry in ran.stdout.split(separator) if entry)


class Sleeper:
    """A container that goes on."""

    def __init__(self, node: Node, bundle: Path, container_id: str) -> None:
        self._node, self._bundle, self._id = node, bundle, container_id

    def process(self, *args: str, uid: int = 0, **members: Any) -> Path:
        """The file that an exec of it is told by; `members` are further ones of the process."""
        file = self._bundle / "exec.json"
        user = {"uid": uid, "gid": uid}
        file.write_text(json.dumps({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": user, **members}))
        return file

    def exec_command(self, process: Path) -> list[str]:
        return self._node.command("exec", "--process", str(process), self._id)

    async def execute(self, *args: str, uid: int = 0, **members: Any) -> "subprocess.CompletedProcess[str]":
        process = self.process(*args, uid=uid, **members)
        return await asyncio.to_thread(self._node.run, "exec", "--process", str(process), self._id)

    def wait(self) -> None:
        until(lambda: json.loads(self._node.run("state", self._id).stdout)["status"] == "stopped")

    def pid(self) -> int:
        return int(json.loads(self._node.run("state", self._id).stdout)["pid"])


class Start(Protocol):
    async def __call__(self, bundle: Path) -> Sleeper: ...


@pytest.fixture
def started(shell: Node) -> Iterator[Start]:
    """`await started(bundle)` runs it in the background, with an agent to be there; it is deleted after the test."""
    ids: list[str] = []

    async def start(bundle: Path) -> Sleeper:
        ids.append(f"floxbridge-test-{os.getpid()}-{len(ids)}")
        await asyncio.to_thread(shell.run_detached, bundle, ids[-1])
        return Sleeper(shell, bundle, ids[-1])

    yield start
    for container_id in ids:
        shell.run("delete", "--force", container_id)


@contextlib.contextmanager
def at_a_terminal(command: list[str]) -> "Iterator[tuple[int, subprocess.Popen[bytes]]]":
    """It runs at a terminal of its own; the file is our end of that: what is written there was typed."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as running:
            os.close(theirs)
            try:
                yield ours, running
            finally:
                running.kill()
    finally:
        os.close(ours)


def change(bundle: Path, how: Callable[[dict[str, Any]], object]) -> None:
    spec = json.loads((bundle / "config.json").read_text())
    how(spec)
    (bundle / "config.json").write_text(json.dumps(spec))


def with_tmp(bundle: Path) -> Path:
    """One that the test sees too."""
    folder = bundle / "rootfs" / "tmp"
    folder.mkdir()
    change(bundle, lambda spec: spec["root"].update(readonly=False))
    return folder


def variables_of(bundle: Path) -> Mapping[str, str]:
    env: list[str] = json.loads((bundle / "config.json").read_text())["process"]["env"]
    return dict(entry.split("=", 1) for entry in env)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline


def runs(words: str) -> bool:
    """Whether a process has these words in its command line, whose end of a word is a NUL."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and words in (process / "cmdline").read_text(errors="replace"):
                return True
    return False

"""Processes that join a container whose environment is activated by script: what they are, and what they have."""

import asyncio
import contextlib
import os
from typing import Any

import pytest

from tests.node.runc_rig import Node, launcher, node
from tests.node.scripted_rig import ENV, Start, at_a_terminal, environment, said, shell, started, variables_of

__all__ = ["launcher", "node", "shell", "started"]
pytestmark = pytest.mark.anyio

SLEEP = ["busybox", "sleep", "1000"]
HOOKED = {"on-activate": "export HOOKED=1; cd /proc; umask 0"}
CAPABILITIES = {name: ["CAP_KILL"] for name in ("bounding", "permitted", "effective")}


@pytest.mark.parametrize(
    ("members", "script", "expected"),
    [
        pytest.param({"cwd": "/nix/store"}, "busybox pwd", "/nix/store", id="cwd"),
        pytest.param(
            {"capabilities": CAPABILITIES},
            "busybox grep CapEff /proc/self/status",
            "CapEff:\t0000000000000020",
            id="caps",
        ),
        pytest.param(
            {"capabilities": {}}, "busybox grep CapEff /proc/self/status", "CapEff:\t0000000000000000", id="no-caps"
        ),
        pytest.param(
            {"user": {"uid": 0, "gid": 7, "additionalGids": [8, 9]}},
            "busybox id -G",
            "7 8 9",
            id="groups",
        ),
        pytest.param(
            {"noNewPrivileges": True}, "busybox grep NoNew /proc/self/status", "NoNewPrivs:\t1", id="no-new-privs"
        ),
    ],
)
async def test_an_exec_is_as_it_was_told_to_be(
    shell: Node, started: Start, members: dict[str, Any], script: str, expected: str
) -> None:
    told = environment(shell, hook=HOOKED)
    bundle = shell.bundle(SLEEP, annotations=told)
    async with shell.agent():
        container = await started(bundle)
        ran = await container.execute("busybox", "sh", "-c", f"{script}; echo $HOOKED", **members)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{expected}\n1\n", "")


async def test_an_exec_on_a_terminal(shell: Node, started: Start) -> None:
    """Which is its own, and takes what a person types: `kubectl exec -it`."""
    told = environment(shell, hook=HOOKED)
    bundle = shell.bundle(SLEEP, annotations=told)
    script = "test -t 0 && test -t 1 && test -t 2 && read -r line && echo got $line, $HOOKED"
    async with shell.agent():
        container = await started(bundle)
        command = container.exec_command(container.process("bash", "-c", script, terminal=True))
        code, printed = await asyncio.to_thread(_typed, command, b"hello\n")
    assert code == 0, printed
    assert "got hello, 1\r\n" in printed


def _typed(command: list[str], text: bytes) -> tuple[int, str]:
    """Runs it at a terminal on which somebody types `text`; its exit code, and all that is seen there."""
    with at_a_terminal(command) as (keys, running):
        os.write(keys, text)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            while data := os.read(keys, 4096):
                seen += data
        return running.wait(timeout=20), seen.decode()


async def test_an_exec_in_dev_has_what_profile_scripts_exported(shell: Node, started: Start) -> None:
    files = {"etc/profile.d/a.sh": "export PROFILED=$V; unset GONE", "etc/profile.d/b.sh": "echo twice >&2"}
    told = {**environment(shell, files, vars={"V": "v"}), "flox.dev/activate-mode": "dev"}
    env = ["PATH=/bin", "GONE=1"]
    bundle = shell.bundle(SLEEP, env=env, annotations=told)
    async with shell.agent():
        ran = await (await started(bundle)).execute(*ENV, env=env)
    found = said(ran)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (found["PROFILED"], found["CPATH"]) == ("v", f"{found['FLOX_ENV']}/include")
    assert "GONE" not in found


async def test_an_exec_while_the_agent_is_restarted_sees_the_environment(shell: Node, started: Start) -> None:
    """The launcher waits for the next agent, which learns from the bundle what the container is in."""
    told = environment(shell, hook=HOOKED)
    bundle = shell.bundle(SLEEP, annotations=told)
    async with shell.agent():
        container = await started(bundle)
    joining = asyncio.create_task(container.execute("busybox", "sh", "-c", "echo $HOOKED"))
    async with shell.agent():
        ran = await joining
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")


async def test_an_exec_without_an_agent_goes_on_without_the_environment(shell: Node, started: Start) -> None:
    told = environment(shell, hook=HOOKED)
    bundle = shell.bundle(SLEEP, annotations=told)
    async with shell.agent():
        container = await started(bundle)
    path = variables_of(bundle)["FLOX_ENV"]
    ran = await container.execute(f"{path}/bin/busybox", "env")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "FLOX_ENV" not in said(ran)

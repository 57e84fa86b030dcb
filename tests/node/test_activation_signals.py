"""Signals for a container's first process where its environment is activated by script: during the hook, and later."""

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.node.runc_rig import Node, launcher, node
from tests.node.scripted_rig import Sleeper, Start, at_a_terminal, change, environment, shell, started, until, with_tmp

__all__ = ["launcher", "node", "shell", "started"]
pytestmark = pytest.mark.anyio

BLOCKED = "echo >/tmp/blocked; busybox sleep 1000"


Ran = subprocess.CompletedProcess[str]


@asynccontextmanager
async def running(node: Node, bundle: Path) -> "AsyncIterator[tuple[Sleeper, asyncio.Task[Ran]]]":
    """The container, and what becomes of it. Whatever the test says, it is gone in the end."""
    container_id = f"floxbridge-test-{secrets.token_hex(4)}"
    async with node.agent():
        end = asyncio.create_task(asyncio.to_thread(node.run, "run", "--bundle", str(bundle), container_id))
        try:
            yield Sleeper(node, bundle, container_id), end
        finally:
            await asyncio.to_thread(node.run, "delete", "--force", container_id)
            await end


async def ended_by(node: Node, bundle: Path, number: int, *, when: Path) -> Ran:
    """What becomes of a container that is sent a signal when there is such a file."""
    async with running(node, bundle) as (container, end):
        await asyncio.to_thread(until, when.exists)
        os.kill(container.pid(), number)
        async with asyncio.timeout(20):
            return await asyncio.shield(end)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="TERM"),
        pytest.param(signal.SIGINT, id="INT"),
        pytest.param(signal.SIGQUIT, id="QUIT"),
        pytest.param(signal.SIGHUP, id="HUP"),
        pytest.param(signal.SIGUSR1, id="USR1"),
        pytest.param(signal.SIGWINCH, id="WINCH-as-httpd-wants-it"),
        pytest.param(signal.SIGRTMIN + 3, id="RTMIN+3-as-systemd-wants-it"),
    ],
)
async def test_a_hook_that_blocks_is_ended(shell: Node, number: int) -> None:
    told = environment(shell, hook={"on-activate": BLOCKED})
    bundle = shell.bundle(["busybox", "touch", "/tmp/ran"], annotations=told)
    tmp = with_tmp(bundle)
    ran = await ended_by(shell, bundle, number, when=tmp / "blocked")
    assert ran.returncode == 128 + number
    assert "Running hook.on-activate failed" not in ran.stderr
    assert not (tmp / "ran").exists()


@pytest.mark.parametrize(
    ("hook", "printed"),
    [
        pytest.param(f"trap 'echo tidied up' EXIT; {BLOCKED}", "tidied up\n", id="on-exit"),
        pytest.param(
            f"trap 'echo told to' TERM; {BLOCKED}; echo and so it does", "told to\nand so it does\n", id="trap"
        ),
    ],
)
async def test_a_hook_that_is_ended_may_tidy_up(shell: Node, hook: str, printed: str) -> None:
    told = environment(shell, hook={"on-activate": hook})
    bundle = shell.bundle(["busybox", "touch", "/tmp/ran"], annotations=told)
    tmp = with_tmp(bundle)
    ran = await ended_by(shell, bundle, signal.SIGTERM, when=tmp / "blocked")
    assert ran.returncode == 128 + signal.SIGTERM
    assert "".join(line for line in ran.stderr.splitlines(keepends=True) if "Terminated" not in line) == printed
    assert not (tmp / "ran").exists()


async def test_a_hook_that_will_not_end_is_not_waited_for_twice(shell: Node) -> None:
    """As a person's second Ctrl-C: nothing that the hook does may keep a container from ending."""
    deaf = "trap 'echo >/tmp/heard' TERM; echo >/tmp/blocked; while :; do read -rt 0.02 <> <(:); done"
    told = environment(shell, hook={"on-activate": deaf})
    bundle = shell.bundle(["busybox", "touch", "/tmp/ran"], annotations=told)
    tmp = with_tmp(bundle)
    async with running(shell, bundle) as (container, end):
        await asyncio.to_thread(until, (tmp / "blocked").exists)
        os.kill(container.pid(), signal.SIGTERM)
        await asyncio.to_thread(until, (tmp / "heard").exists)
        os.kill(container.pid(), signal.SIGINT)
        async with asyncio.timeout(20):
            ran = await asyncio.shield(end)
    assert ran.returncode == 128 + signal.SIGINT


async def test_a_hook_is_ended_by_a_key(shell: Node) -> None:
    """Ctrl-C, at a terminal that the container was started from."""
    told = environment(shell, hook={"on-activate": BLOCKED})
    bundle = shell.bundle(["busybox", "touch", "/tmp/ran"], annotations=told)
    change(bundle, lambda spec: spec["process"].update(terminal=True))
    tmp = with_tmp(bundle)
    container_id = f"floxbridge-test-{secrets.token_hex(4)}"
    async with shell.agent():
        with at_a_terminal(shell.command("run", "--bundle", str(bundle), container_id)) as (keys, running):
            try:
                await asyncio.to_thread(until, (tmp / "blocked").exists)
                os.write(keys, b"\x03")
                assert await asyncio.to_thread(running.wait, 20) == 128 + signal.SIGINT
            finally:
                await asyncio.to_thread(shell.run, "delete", "--force", container_id)
    assert not (tmp / "ran").exists()


async def test_a_hook_and_its_programs_may_be_interrupted_at_a_terminal(shell: Node) -> None:
    """What a script runs in its background is deaf to INT and QUIT, and cannot even ask to hear them."""
    heard = "trap 'echo hook heard' INT; kill -INT $BASHPID; bash -c 'kill -INT $$; echo deaf'; export A=1"
    told = environment(shell, hook={"on-activate": heard})
    ran = await shell.ran(shell.bundle(["bash", "-c", "echo $A"], annotations=told))
    assert (ran.returncode, ran.stdout) == (0, "1\n")
    assert "hook heard\n" in ran.stderr
    assert "deaf" not in ran.stderr


async def test_signals_reach_the_command(shell: Node, started: Start) -> None:
    told = environment(shell, hook={"on-activate": ":"})
    script = "trap 'echo >/tmp/got; exit 0' TERM; echo >/tmp/ready; while :; do read -rt 0.02 <> <(:); done"
    bundle = shell.bundle(["bash", "-c", script], annotations=told)
    tmp = with_tmp(bundle)
    async with shell.agent():
        container = await started(bundle)
        await asyncio.to_thread(until, (tmp / "ready").exists)
        os.kill(container.pid(), signal.SIGTERM)
        await asyncio.to_thread(container.wait)
    assert (tmp / "got").exists()


async def test_the_command_has_the_signals_as_the_runtime_gave_them(shell: Node) -> None:
    """What is blocked or ignored stays so through an exec."""
    command = ["busybox", "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"]
    static = await shell.ran(shell.bundle(command, name="static"))
    told = environment(shell, hook={"on-activate": ":"})
    scripted = await shell.ran(shell.bundle(command, name="scripted", annotations=told))
    assert (static.returncode, scripted.stdout) == (0, static.stdout)

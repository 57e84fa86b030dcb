"""A container under the real runc, through the real launcher and the agent, without containerd in between."""

import asyncio
import json

import pytest

from tests.integration.agent_rig import WEB, image
from tests.node.runc_rig import Node, launcher, node

__all__ = ["launcher", "node"]
pytestmark = pytest.mark.anyio


async def test_the_command_is_found_and_has_its_variables(node: Node) -> None:
    ran = await node.ran(node.bundle(["busybox", "env"]))
    assert (ran.returncode, ran.stderr) == (0, "")
    found = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert (found["PATH"], found["FLOX_ENV"]) == (f"{node.path}/bin:/bin", str(node.path))
    assert found["GREETING"] == "hello world"
    assert not [name for name in found if name.startswith("FLOXBRIDGE_")]


async def test_the_command_is_the_containers_first_process(node: Node) -> None:
    ran = await node.ran(node.bundle(["busybox", "sh", "-c", "echo $$; exit 7"]))
    assert (ran.returncode, ran.stdout) == (7, "1\n")


async def test_the_store_is_read_only_and_tmp_is_not(node: Node) -> None:
    script = f"busybox touch {node.path}/x 2>&1; busybox touch /nix/store/x 2>&1; echo ok >/tmp/x && busybox cat /tmp/x"
    ran = await node.ran(node.bundle(["busybox", "sh", "-c", script]))
    assert ran.stdout.count("Read-only file system") == 2
    assert ran.stdout.endswith("ok\n")


async def test_on_top_of_an_ordinary_image(node: Node) -> None:
    bundle = node.bundle(["/bin/env"], env=["PATH=/bin"], annotations={"flox.dev/environment": f"{WEB}:1"})
    (bundle / "rootfs" / "bin").mkdir()
    (bundle / "rootfs" / "bin" / "env").symlink_to(f"{node.path}/bin/busybox")
    (bundle / "rootfs" / "tmp").mkdir()
    ran = await node.ran(bundle)
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
    node.configure(deadline_ms=500)
    ran = await asyncio.to_thread(node.run, "run", "--bundle", str(bundle), "floxbridge-test")
    assert ran.returncode == 1
    assert "floxbridge agent does not answer at" in ran.stderr
    assert "FLOXBRIDGE_ENVIRONMENT" in (bundle / "config.json").read_text()
    assert json.loads(node.run("list", "--format", "json").stdout) is None

"""`flox.dev/nix-mutable`: a store that a container may change, and nobody else sees it."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shim_hooks.store.node_store import NodeStore
from tests.integration.agent_rig import WEB
from tests.node.runc_rig import Node, launcher, make_node, node

__all__ = ["launcher", "node"]
pytestmark = pytest.mark.anyio

MUTABLE = {"flox.dev/environment": f"{WEB}:1", "flox.dev/nix-mutable": "true"}


def sh(script: str) -> list[str]:
    return ["busybox", "sh", "-c", script]


async def test_what_is_written_is_seen_there_alone(node: Node) -> None:
    change = (
        f"busybox touch /nix/store/new {node.path}/new && busybox rm -r {node.path}/activate.d && busybox ls /nix/store"
    )
    first = await node.ran(node.bundle(sh(change), name="one", annotations=MUTABLE))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines() == sorted([node.path.base_name, "new"])
    look = f"busybox ls /nix/store {node.path}"
    for name, told in (("two", MUTABLE), ("three", {"flox.dev/environment": f"{WEB}:1"})):
        other = await node.ran(node.bundle(sh(look), name=name, annotations=told))
        assert "new" not in other.stdout.split()
        assert "activate.d" in other.stdout.split()
    assert not (node.rig.environments.store_dir / "new").exists()


@pytest.mark.parametrize("uid", [0, 12345])
async def test_any_user_can_add_store_paths(node: Node, uid: int) -> None:
    bundle = node.bundle(sh("busybox mkdir /nix/store/mine && echo done"), annotations=MUTABLE)
    _as_user(bundle, uid)
    ran = await node.ran(bundle)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


@pytest.fixture
def passable(launcher: Path) -> Iterator[Node]:
    """A node in a folder that everybody can pass through, as `/var/lib` is and pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="floxbridge-test-") as folder:
        Path(folder).chmod(0o755)
        made = make_node(Path(folder), launcher)
        NodeStore(made.rig.folder / "state").close()  # the modes that an agent gives it
        yield made


@pytest.mark.parametrize("uid", [0, 12345])
@pytest.mark.parametrize("mutable", ["false", "true"])
async def test_in_a_user_namespace(passable: Node, mutable: str, uid: int) -> None:
    """As of a pod with `hostUsers: false`: the store is mounted by somebody who is nobody on the node."""
    told = {**MUTABLE, "flox.dev/nix-mutable": mutable}
    bundle = passable.bundle(sh("busybox mkdir /nix/store/mine && echo done"), annotations=told)
    _as_user(bundle, uid, first=200_000)
    ran = await passable.ran(bundle)
    assert ran.stdout == ("done\n" if mutable == "true" else ""), ran.stderr
    assert ("Read-only file system" in ran.stderr) is (mutable == "false"), ran.stderr


def _as_user(bundle: Any, uid: int, *, first: int | None = None) -> None:
    """With `first` in a user namespace, whose ids begin there."""
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"]["user"] = {"uid": uid, "gid": uid}
    if first is not None:
        mapping = [{"containerID": 0, "hostID": first, "size": 65536}]
        spec["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
        spec["linux"]["namespaces"].append({"type": "user"})
        os.chown(bundle / "rootfs", first, first)
    (bundle / "config.json").write_text(json.dumps(spec))


async def test_it_goes_with_the_container(node: Node) -> None:
    bundle = node.bundle(sh("busybox touch /nix/store/new"), annotations=MUTABLE)
    folder = node.rig.folder / "state" / "mutable"
    async with node.agent():
        await asyncio.to_thread(node.run, "run", "--bundle", str(bundle), "floxbridge-test-mutable")
        (left,) = folder.iterdir()
        assert (left / "upper" / "new").exists()
        shutil.rmtree(bundle)
        sweeping = asyncio.create_task(node.rig.agent.sweep_leases(after_delete_s=0, interval_s=0.01))
        await node.rig.event("leases_dropped", 1)
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
    assert list(folder.iterdir()) == []

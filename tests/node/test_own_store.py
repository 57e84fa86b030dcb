"""An image with packages of its own in /nix/store: they stay to be seen, and never in the environment's place."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from floxbridge_demo.workplace import Workplace
from tests.containerds import parent, workplace
from tests.control_groups import seeing_version
from tests.integration.agent_rig import WEB
from tests.node import runc_rig
from tests.node.runc_rig import Node, launcher

__all__ = ["launcher", "parent", "runc_node", "workplace"]
pytestmark = pytest.mark.anyio

ENVIRONMENT = {"flox.dev/environment": f"{WEB}:1"}
MUTABLE = {**ENVIRONMENT, "flox.dev/nix-mutable": "true"}
OWN = "0c5m9yyl5r3jfvmqnq2jw7yxbf2p4s2r-own"
runc_node = runc_rig.node


@pytest.fixture(params=[pytest.param(("runc", None), id="runc"), pytest.param(("crun", 1), id="crun")])
def node(request: pytest.FixtureRequest, runc_node: Node, workplace: Workplace) -> Iterator[Node]:
    runtime, version = request.param
    with seeing_version(version, workplace) as before:
        runc_node.before = before
        runc_node.configure(runtime=runtime)
        yield runc_node


def bundle(node: Node, script: str, *, name: str = "c1", annotations: dict[str, str] | None = None) -> Path:
    """Its image's shell is in a package of the image."""
    made = node.bundle(["/bin/sh", "-c", script], name=name, annotations=annotations or ENVIRONMENT)
    rootfs = made / "rootfs"
    package = rootfs / "nix" / "store" / OWN
    (package / "bin").mkdir(parents=True)
    shutil.copy(node.rig.environments.store_dir / node.path.base_name / "bin" / "busybox", package / "bin" / "busybox")
    for link in (package / "bin" / "sh", rootfs / "bin" / "sh"):
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(f"/nix/store/{OWN}/bin/busybox")
    return made


def change(made: Path, **members: object) -> None:
    spec = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**spec, **members}))


@pytest.mark.parametrize("read_only", [False, True], ids=["writable-root", "read-only-root"])
@pytest.mark.parametrize("uid", [0, 12345])
@pytest.mark.parametrize("annotations", [ENVIRONMENT, MUTABLE], ids=["store", "mutable-store"])
async def test_both_are_there(node: Node, annotations: dict[str, str], uid: int, read_only: bool) -> None:
    script = f"echo $GREETING; busybox ls /nix/store; {node.path}/bin/busybox readlink /proc/self/exe"
    script += "; busybox touch /nix/store/new 2>&1"
    made = bundle(node, script, annotations=annotations)
    spec = json.loads((made / "config.json").read_text())
    process = {**spec["process"], "user": {"uid": uid, "gid": uid}}
    change(made, process=process, root={"path": "rootfs", "readonly": read_only})
    ran = await node.ran(made)
    said = ["hello world", *sorted([OWN, node.path.base_name]), f"{node.path}/bin/busybox"]
    refused = [] if annotations is MUTABLE else ["touch: /nix/store/new: Read-only file system"]
    assert (ran.stdout.splitlines(), ran.stderr) == ([*said, *refused], "")
    assert [it.name for it in (made / "rootfs" / "nix" / "store").iterdir()] == [OWN]


@pytest.mark.parametrize("annotations", [ENVIRONMENT, MUTABLE], ids=["store", "mutable-store"])
@pytest.mark.parametrize("kind", ["folder", "file", "link"])
async def test_nothing_of_the_image_stands_in_the_environments_place(
    node: Node, annotations: dict[str, str], kind: str
) -> None:
    """Neither instead of what was verified nor beside it, under the same name."""
    script = f"/nix/store/{OWN}/bin/sh -c 'busybox ls -R {node.path}; busybox echo it is busybox'"
    made = bundle(node, script, annotations=annotations)
    at = made / "rootfs" / "nix" / "store" / node.path.base_name
    if kind == "folder":
        (at / "bin").mkdir(parents=True)
        (at / "bin" / "busybox").write_text("#!/bin/sh\necho evil\n")
        (at / "bin" / "busybox").chmod(0o755)
        (at / "bin" / "evil").touch()
        (at / "evil").touch()
    elif kind == "file":
        at.write_text("evil")
    else:
        at.symlink_to("/etc")
    ran = await node.ran(made)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "evil" not in ran.stdout
    assert ran.stdout.splitlines()[:3] == [f"{node.path}:", "activate.d", "bin"]
    assert ran.stdout.endswith("it is busybox\n")


@pytest.mark.parametrize("annotations", [ENVIRONMENT, MUTABLE], ids=["store", "mutable-store"])
async def test_so_it_is_of_a_private_environment(node: Node, annotations: dict[str, str]) -> None:
    """Its folder lies over what all see, and both over the image's."""
    environments = node.rig.environments
    script = f"busybox ls /nix/store; busybox ls {node.path}; busybox cat /nix/store/shared/file"
    made = bundle(node, script, annotations=annotations)
    (made / "rootfs" / "nix" / "store" / node.path.base_name / "evil").mkdir(parents=True)
    (environments.store_dir / "shared").mkdir()
    (environments.store_dir / "shared" / "file").write_text("seen by all\n")
    environments.own = environments.store_dir.with_name("private") / "1"
    environments.own.mkdir(parents=True)
    (environments.store_dir / node.path.base_name).rename(environments.own / node.path.base_name)
    ran = await node.ran(made)
    names = sorted([OWN, node.path.base_name, "shared"])
    assert (ran.stdout.splitlines(), ran.stderr) == ([*names, "activate.d", "bin", "seen by all"], "")


async def test_what_hides_it_goes_with_the_container(node: Node) -> None:
    made = bundle(node, "exit 0")
    (made / "rootfs" / "nix" / "store" / node.path.base_name).mkdir()
    assert (await node.ran(made)).returncode == 0
    folder = node.rig.folder / "state" / "mutable"
    assert [it.name for it in folder.glob("*/hidden/*")] == [node.path.base_name]
    shutil.rmtree(made)
    node.rig.leases.sweep()
    node.rig.mutable.sweep(node.rig.leases.container_ids)
    assert list(folder.iterdir()) == []

"""What a hostile image, pod or lockfile may try, with the real runc: nothing of the node is mounted, written or run."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from tests.integration.agent_rig import WEB, image, lockfile
from tests.node.runc_rig import Node, launcher, node

__all__ = ["launcher", "node"]
pytestmark = pytest.mark.anyio
BASH = Path("/bin/bash-static")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the node's that a container must not reach: as the real /etc, which a test had better leave alone."""
    folder = tmp_path / "node-etc"
    (folder / "store").mkdir(parents=True)
    (folder / "passwd").write_text("the node's own")
    (folder / "store" / "secret").write_text("the node's own")
    return folder


def state(folder: Path) -> list[tuple[str, int, int, bytes]]:
    found = [(str(path), path.lstat(), path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")]
    mounted = os.path.ismount(folder) or os.path.ismount(folder / "store")
    assert not mounted
    return sorted((path, status.st_mode, status.st_mtime_ns, data) for path, status, data in found)


Trick = Callable[[Path, Path], object]


def link(name: str, target: str) -> Trick:
    """`{outside}` is the folder's path, `{up}` leads to the node's root from anywhere."""

    def play(rootfs: Path, outside: Path) -> None:
        path = rootfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.format(outside=outside, up="../" * 30))

    return play


def a_file(rootfs: Path, outside: Path) -> None:
    (rootfs / "nix").write_text("no folder")


TRICKS = [
    pytest.param(link("nix", "{outside}"), id="nix-absolute"),
    pytest.param(link("nix", "{up}{outside}"), id="nix-relative"),
    pytest.param(link("nix/store", "{outside}"), id="store-absolute"),
    pytest.param(link("nix/store", "{up}{outside}"), id="store-relative"),
    pytest.param(link("nix", "/proc/1/root{outside}"), id="nix-through-proc"),
    pytest.param(link("nix/store", "/proc/self/cwd"), id="store-through-a-magic-link"),
    pytest.param(link("nix/store", "/etc"), id="store-to-etc"),
    pytest.param(link("nix", "nix"), id="nix-to-itself"),
    pytest.param(link("tmp", "{outside}"), id="tmp-absolute"),
    pytest.param(link("tmp", "{up}{outside}"), id="tmp-relative"),
    pytest.param(link("run", "{outside}"), id="run"),
    pytest.param(a_file, id="nix-is-a-file"),
]


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("scripted", [False, True], ids=["static", "scripted"])
async def test_a_root_filesystem_leads_nowhere(node: Node, outside: Path, trick: Trick, scripted: bool) -> None:
    """The container gets its environment, or is not created. What it writes lands in itself."""
    if scripted:
        push(node, hook={"on-activate": "echo x >/tmp/hooked"})
    script = "echo pwned >/tmp/passwd; echo pwned >/nix/passwd; echo pwned >/nix/store/passwd; busybox ls /nix/store"
    bundle = node.bundle(["busybox", "sh", "-c", script], env=node_image(node))
    trick(bundle / "rootfs", outside)
    etc, before = state_of_etc(), state(outside)
    ran = await node.ran(bundle)
    assert state(outside) == before, ran
    assert state_of_etc() == etc
    assert "passwd" not in ran.stdout, ran
    assert "secret" not in ran.stdout, ran
    assert {it.name for it in (node.rig.folder / "state" / "store").iterdir()} >= {node.path.base_name}
    assert not (node.rig.folder / "state" / "store" / "passwd").exists()


def push(node: Node, **manifest: object) -> None:
    """A new generation, with the busybox of the first one, and with a bash for what has to be expanded."""
    store = node.rig.folder / "state" / "store"
    busybox = store / node.path.base_name / "bin" / "busybox"
    node.lock = lockfile(**manifest)
    node.path = node.rig.environments.add(WEB, node.lock)
    if not BASH.exists():
        cannot_run("no static bash; `make setup` as root installs bash-static on Debian")
    for source in (busybox, BASH):
        program = store / node.path.base_name / "bin" / source.name.removesuffix("-static")
        program.write_bytes(source.read_bytes())
        program.chmod(0o555)


def node_image(node: Node) -> list[str]:
    return image(node.lock, int(node.path.name.rpartition("-")[2]))


def state_of_etc() -> list[str]:
    return sorted(os.listdir("/etc"))  # noqa: PTH208


async def test_the_bundles_own_file_is_not_written_through_a_link(node: Node, outside: Path) -> None:
    bundle = node.bundle(["busybox", "true"])
    (bundle / "config.json").rename(outside / "config.json")
    (bundle / "config.json").symlink_to(outside / "config.json")
    before = state(outside)
    ran = await node.ran(bundle)
    assert ran.returncode == 1
    assert "config.json cannot be read: Too many levels of symbolic links" in ran.stderr
    assert state(outside) == before


LINKER = {
    "LD_PRELOAD": "/tmp/evil.so",
    "LD_AUDIT": "/tmp/evil.so",
    "LD_LIBRARY_PATH": "/tmp",
    "GCONV_PATH": "/tmp",
    "BASH_ENV": "/tmp/evil.sh",
    "ENV": "/tmp/evil.sh",
    "PYTHONPATH": "/tmp",
    "_LIBCONTAINER_INITPIPE": "0",
}


async def test_variables_for_the_dynamic_linker_stay_in_the_container(node: Node) -> None:
    """They are the user's to set, for the user's own process. runc and all of ours on the node never have them."""
    push(node, vars=LINKER)
    ran = await node.ran(node.bundle(["busybox", "env"], env=node_image(node)))
    assert (ran.returncode, ran.stderr) == (0, "")
    found = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert LINKER.items() <= found.items()


@pytest.mark.parametrize(
    "text", ["$(touch {})", "`touch {}`", "; touch {}", "'; touch {}; '", '"; touch {}; "', "\ntouch {}\n"]
)
@pytest.mark.parametrize("place", ["vars", "hook"])
async def test_nothing_of_a_lockfile_runs_on_the_node(node: Node, outside: Path, place: str, text: str) -> None:
    told = text.format(outside / "evaluated")
    push(node, **({"vars": {"A": told}} if place == "vars" else {"hook": {"on-activate": told}}))
    before = state(outside)
    bundle = node.bundle(["busybox", "true"], env=node_image(node))
    ran = await node.ran(bundle)
    assert state(outside) == before, ran
    written = json.loads((bundle / "config.json").read_text())
    assert "hooks" not in written, "nothing is to run on the node for a container"
    assert written["process"]["args"][-2:] == ["busybox", "true"]


@pytest.mark.parametrize(
    "variable",
    [
        pytest.param("FLOXBRIDGE_ENVIRONMENT=../../etc", id="path"),
        pytest.param("FLOXBRIDGE_GENERATION=$(id)", id="command"),
        pytest.param("FLOXBRIDGE_LOCKFILE=sha256:/etc/passwd", id="digest"),
    ],
)
async def test_our_own_variables_are_no_way_in(node: Node, outside: Path, variable: str) -> None:
    before = state(outside)
    bundle = node.bundle(["busybox", "env"], env=[*image(node.lock), variable])
    ran = await node.ran(bundle)
    assert state(outside) == before
    assert "FLOXBRIDGE_" not in ran.stdout
    assert ran.returncode == 0 or "the image's FLOXBRIDGE_… variables are none of ours" in ran.stderr, ran


@pytest.mark.parametrize("variable", ["FLOXBRIDGE_LD_PRELOAD=/tmp/evil.so", "FLOXBRIDGE_RUNTIME=/bin/sh"])
async def test_settings_of_floxbridge_in_a_pod_are_the_pods_own(node: Node, outside: Path, variable: str) -> None:
    """A registry may run in a Flox environment, too. To the node they say nothing."""
    before = state(outside)
    ran = await node.ran(node.bundle(["busybox", "env"], env=[*image(node.lock), variable]))
    assert state(outside) == before
    assert [line for line in ran.stdout.splitlines() if line.startswith("FLOXBRIDGE_")] == [variable]

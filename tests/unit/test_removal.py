"""Trees that are removed, whatever is in them."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from shim_hooks.store.removal import remove_tree
from tests.conftest import needs, needs_root


def nest(folder: Path, depth: int) -> None:
    """Directories inside each other, deeper than a path may name."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", 0o755, dir_fd=at)
        os.symlink("/etc", "link", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


def deep(folder: Path) -> None:
    nest(folder, 5000)


def broad(folder: Path) -> None:
    for number in range(600):
        (folder / f"d{number}").mkdir()
        (folder / f"d{number}" / "file").touch()


def read_only(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").touch()
    for each in (folder / "a" / "b", folder / "a", folder):
        each.chmod(0o000)


def odd(folder: Path) -> None:
    (folder / "link").symlink_to("/etc")
    (folder / "nowhere").symlink_to("/nowhere")
    os.mkfifo(folder / "fifo")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\n")).touch()


TREES = [pytest.param(fill, id=fill.__name__) for fill in (deep, broad, read_only, odd)]


@pytest.mark.parametrize("fill", TREES)
def test_removes_all_of_it_with_few_open_files(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    tree, beside = tmp_path / "tree", tmp_path / "beside"
    tree.mkdir()
    beside.touch()
    fill(tree)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        remove_tree(tree)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert list(tmp_path.iterdir()) == [beside]


def test_tells_how_much_it_was(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    broad(tmp_path / "tree")
    assert remove_tree(tmp_path / "tree") == 1201
    (tmp_path / "file").touch()
    assert remove_tree(tmp_path / "file") == 1
    assert remove_tree(tmp_path / "none") == 0


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").touch()
    (tmp_path / "link").symlink_to("tree")
    remove_tree(tmp_path / "link")
    assert [entry.name for entry in tmp_path.iterdir()] == ["tree"]
    assert (tmp_path / "tree" / "file").exists()


def test_as_an_ordinary_user() -> None:
    """Without root, what may not be read has to be opened first."""
    needs_root()
    needs("setpriv")
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from shim_hooks.store.removal import remove_tree
from tests.unit.test_removal import read_only
tree = Path(sys.argv[1]) / "tree"
tree.mkdir()
read_only(tree)
tree.chmod(0o755)
remove_tree(tree)
print(tree.exists())
"""
    with TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        os.chown(folder, 65534, 65534)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", program, folder]
        run = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)
    assert (run.stdout, run.returncode) == ("False\n", 0), run.stderr

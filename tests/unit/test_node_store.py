"""The node's store: a path is there when it is complete, and the disk's errors are sentences."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from flox_formats.store_path import StorePath
from shim_hooks.errors import StoreFailed
from shim_hooks.store.disk import disk_errors, write_whole
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.staging import Staging
from tests.conftest import needs, needs_root

A, B = StorePath("0" * 32, "a"), StorePath("1" * 32, "b")


def stage(place: Path, contents: str) -> Path:
    """A store path as `nar.restore` makes it: nobody may write in it."""
    tree = place / A.base_name
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "x").write_text(contents)
    (tree / "bin").chmod(0o555)
    tree.chmod(0o555)
    return tree


def test_a_path_is_there_once_it_is_published(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    with store.staging() as place:
        staged = stage(place, "1")
        assert not store.public.has(A)
        store.publish(staged, store.public.path_of(A))
    assert store.public.has(A)
    assert store.public.missing([A, B]) == [B]
    assert (store.public.path_of(A) / "bin" / "x").read_text() == "1"
    assert list((tmp_path / "store").iterdir()) == [store.public.path_of(A)]
    assert NodeStore(tmp_path).public.has(A)


def test_who_is_second_leaves_the_first_one_in_place(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    for contents in "12":
        with store.staging() as place:
            store.publish(stage(place, contents), store.public.path_of(A))
    assert (store.public.path_of(A) / "bin" / "x").read_text() == "1"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_store_path_may_be_no_directory(tmp_path: Path, kind: str) -> None:
    store = NodeStore(tmp_path)
    with store.staging() as place:
        staged = place / "x"
        staged.write_text("") if kind == "file" else staged.symlink_to("/nowhere")
        store.publish(staged, store.public.path_of(A))
    assert store.public.has(A)


def test_what_was_not_published_leaves_nothing(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    with store.staging() as place:
        stage(place, "half")
    assert not any((tmp_path / "store").iterdir())
    assert not place.exists()
    store.close()
    assert not any((tmp_path / "staging").iterdir())


def test_staging_of_the_dead_is_swept_and_that_of_the_living_is_not(tmp_path: Path) -> None:
    stage(tmp_path / "staging" / "left-by-a-crash" / "place", "half")
    living = Staging(tmp_path / "staging")
    with living.place() as place:
        stage(place, "growing")
        NodeStore(tmp_path)
        assert (place / A.base_name / "bin" / "x").exists()
    assert not (tmp_path / "staging" / "left-by-a-crash").exists()


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    store.close()
    store.close()


def test_what_is_replaced_is_there_at_every_moment(tmp_path: Path) -> None:
    """A container may use it, and whoever replaces it may be killed: another process looks all the while."""
    store = NodeStore(tmp_path)
    with store.staging() as place:
        store.publish(stage(place, "0"), store.public.path_of(A))
    program = """
import os, sys
path, stop = sys.argv[1:]
missed = 0
print("looks", flush=True)
while not os.path.exists(stop):
    for _ in range(500):
        missed += not os.path.lexists(path)
print(missed)
"""
    command = [sys.executable, "-c", program, str(store.public.path_of(A)), str(tmp_path / "stop")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looking:
        assert looking.stdout is not None
        assert looking.stdout.readline() == "looks\n"
        for number in range(200):
            with store.staging() as place:
                store.replace(stage(place, str(number)), store.public.path_of(A))
        (tmp_path / "stop").touch()
        assert looking.stdout.read() == "0\n"
    assert (store.public.path_of(A) / "bin" / "x").read_text() == "199"
    assert [entry.name for entry in (tmp_path / "store").iterdir()] == [A.base_name]
    assert not [entry for place in (tmp_path / "staging").iterdir() for entry in place.iterdir()]


@pytest.mark.parametrize("there", ["nothing", "file", "link", "directory"])
def test_replaces_whatever_is_there(tmp_path: Path, there: str) -> None:
    store = NodeStore(tmp_path)
    match there:
        case "file":
            store.public.path_of(A).touch()
        case "link":
            store.public.path_of(A).symlink_to("/nowhere")
        case "directory":
            (store.public.path_of(A) / "bin").mkdir(parents=True)
    with store.staging() as place:
        store.replace(stage(place, "new"), store.public.path_of(A))
    assert (store.public.path_of(A) / "bin" / "x").read_text() == "new"
    assert [entry.name for entry in (tmp_path / "store").iterdir()] == [A.base_name]


@pytest.mark.parametrize("call", ["publish", "replace"])
def test_publishes_as_an_ordinary_user(call: str) -> None:
    """Without root, moving a directory needs the permission to write in it, which store paths do not give."""
    needs_root()
    needs("setpriv")
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from shim_hooks.store.node_store import NodeStore
from tests.unit.test_node_store import A, stage
store = NodeStore(Path(sys.argv[1]))
with store.staging() as place:
    store.publish(stage(place, "1"), store.public.path_of(A))
with store.staging() as place:
    store.{call}(stage(place, "2" if "{call}" == "replace" else "1"), store.public.path_of(A))
print(oct(store.public.path_of(A).stat().st_mode & 0o777), (store.public.path_of(A) / "bin" / "x").read_text())
store.close()
"""
    with TemporaryDirectory() as state:  # pytest's own folders are closed to others
        os.chown(state, 65534, 65534)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", program, state]
        run = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)
    assert (run.stdout, run.returncode) == (f"0o555 {'2' if call == 'replace' else '1'}\n", 0), run.stderr


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        pytest.param(errno.ENOSPC, "is full. Free space", id="full"),
        pytest.param(errno.EDQUOT, "is full. Free space", id="quota"),
        pytest.param(errno.EROFS, "is read-only. Mount it writable", id="read-only"),
        pytest.param(errno.EACCES, "no permission for", id="permission"),
        pytest.param(errno.EIO, "Input/output error", id="broken"),
    ],
)
def test_disk_errors_say_what_to_do(number: int, sentence: str) -> None:
    with pytest.raises(StoreFailed) as raised, disk_errors("unpacking", Path("/var/lib/floxbridge")):
        raise OSError(number, os.strerror(number))
    assert str(raised.value).startswith("unpacking: ")
    assert sentence in str(raised.value)
    assert "/var/lib/floxbridge" in str(raised.value)


def test_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="preparing the node store"):
        NodeStore(tmp_path / "file")


def test_a_file_is_whole_or_as_before(tmp_path: Path) -> None:
    write_whole(tmp_path / "x", b"1")
    write_whole(tmp_path / "x", b"2")
    assert (tmp_path / "x").read_bytes() == b"2"
    (tmp_path / "directory").mkdir()
    with pytest.raises(StoreFailed, match="writing directory"):
        write_whole(tmp_path / "directory", b"")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["directory", "x"]

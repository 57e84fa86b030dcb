"""Where a path lies, and as whose: in a folder of one environment, in the one that every container sees, or in both."""

import os
import subprocess
from pathlib import Path

import pytest

from flox_formats.environment import EnvironmentName
from flox_formats.store_path import StorePath
from shim_hooks.environment.tree import resolve
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.store_folders import StoreFolders
from tests.conftest import needs, needs_root
from tests.unit.test_node_store import A, stage

B, C, D = (StorePath(number * 32, name) for number, name in ("1b", "2c", "3d"))
SECRET, OTHER = EnvironmentName.parse("acme/secret"), EnvironmentName.parse("acme/other")


@pytest.fixture
def store(tmp_path: Path) -> NodeStore:
    """A in the folder of acme/secret, B in `store/`, C in both."""
    store = NodeStore(tmp_path / "state")
    for folder, paths in ((store.private_of(SECRET).own, (A, C)), (store.store_dir, (B, C))):
        for path in paths:
            with store.staging() as place:
                store.publish(stage(place, path.name), folder / path.base_name)
    return store


@pytest.mark.parametrize(
    ("paths", "secret", "other", "public"),
    [
        pytest.param([A], "both", None, None, id="own"),
        pytest.param([A, B], "both", None, None, id="own-and-shared"),
        pytest.param([B, C], "shared", "shared", "shared", id="shared"),
        pytest.param([], "shared", "shared", "shared", id="nothing"),
        pytest.param([A, D], None, None, None, id="missing"),
    ],
)
def test_as_few_folders_as_have_all(
    store: NodeStore, paths: list[StorePath], secret: str | None, other: str | None, public: str | None
) -> None:
    for folders, expected in (
        (store.private_of(SECRET), secret),
        (store.private_of(OTHER), other),
        (store.public, public),
    ):
        wanted = {"both": folders, "shared": store.public, None: None}[expected]
        assert folders.narrowed(paths) == wanted
        assert bool(folders.missing(paths)) == (wanted is None)


def test_the_own_of_an_environment_is_seen_above_what_all_see(store: NodeStore) -> None:
    folders = store.private_of(SECRET)
    assert [folders.path_of(path).parent for path in (A, B, C, D)] == [
        folders.own,
        folders.shared,
        folders.own,
        folders.own,
    ]
    assert [len(folders.places_of(path)) for path in (A, B, C, D)] == [1, 1, 2, 0]
    assert [each.own for each in store.all_folders()] == [store.store_dir, folders.own]


def test_links_lead_from_folder_to_folder(store: NodeStore) -> None:
    folders = store.private_of(SECRET)
    (folders.own / D.base_name).symlink_to(f"{B}/bin")
    place = resolve(folders.tree, f"{D}/x")
    assert place is not None
    assert place.path == f"{B}/bin/x"
    assert folders.tree.first_line(f"{A}/bin/x") == "a"
    assert folders.tree.kind(f"/nix/store/{StorePath('4' * 32, 'none').base_name}") is None


def test_nobody_else_comes_into_what_is_private(store: NodeStore) -> None:
    own = store.private_of(SECRET).own
    modes = {path: oct(path.stat().st_mode & 0o777) for path in (store.root, own.parent, own)}
    assert modes == {store.root: "0o711", own.parent: "0o700", own: "0o755"}  # which its containers look into


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o750, 0o700])
def test_a_state_directory_is_for_passing_through_to_the_store_alone(tmp_path: Path, mode: int) -> None:
    """Whatever it was: in a user namespace who mounts the store is nobody on the node."""
    state = tmp_path / "state"
    for folder in (state, state / "closures", state / "leases"):
        folder.mkdir()
        folder.chmod(mode)
    NodeStore(state)
    modes = {folder.name: oct(folder.stat().st_mode & 0o777) for folder in (state, *state.iterdir())}
    assert modes.pop("state") == "0o711"
    assert modes.pop("store") == "0o755"
    assert set(modes.values()) == {"0o700"}


def test_a_change_of_either_folder_is_seen(store: NodeStore) -> None:
    folders = store.private_of(SECRET)
    for folder in folders.folders:
        before = folders.changed_ns()
        os.utime(folder, ns=(1, 1))
        assert folders.changed_ns() != before
    assert store.private_of(OTHER).changed_ns() is None


def test_a_folder_goes_with_the_last_that_lies_in_it(store: NodeStore) -> None:
    own = store.private_of(SECRET).own
    for path, left in ((A, True), (C, False)):
        with store.taking_away() as taken:
            taken.add(own / path.base_name)
        store.sweep(temporary_before=0)
        assert own.exists() == left
    assert store.public.has(C)
    with store.staging() as place:
        store.publish(stage(place, "again"), own / A.base_name)
    assert store.private_of(SECRET).has(A)


def test_the_same_path_is_taken_away_from_several_folders_at_once(store: NodeStore) -> None:
    with store.taking_away() as taken:
        for place in store.private_of(SECRET).places_of(C):
            taken.add(place)
    assert taken.inodes == 2 * 3
    assert store.private_of(SECRET).missing([C]) == [C]


def test_each_environment_has_its_own_whatever_its_letters(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    names = ["acme/web", "acme/Web", "acme/web2", "Acme/web"]
    folders = {store.private_of(EnvironmentName.parse(name)) for name in names}
    assert len({each.own.name for each in folders}) == len(names)
    assert StoreFolders((store.store_dir,)) == store.public


@pytest.mark.parametrize("call", ["publish", "replace"])
def test_two_builds_of_one_path_are_never_seen_as_one(store: NodeStore, tmp_path: Path, call: str) -> None:
    """As the kernel would merge them. Both are signed; which files belong to which, only a whole one says."""
    needs_root()
    needs("mount")
    folders = store.private_of(OTHER)
    for folder, name in ((folders.shared, "theirs"), (folders.own, "mine")) * 2:
        with store.staging() as place:
            tree = stage(place, name)
            (tree / "bin" / name).touch()
            getattr(store, call)(tree, folder / D.base_name)
    (tmp_path / "seen").mkdir()
    layers = "lowerdir=" + ":".join(map(str, folders.folders))
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"ro,{layers}", str(tmp_path / "seen")], check=True)
    try:
        assert sorted(entry.name for entry in (tmp_path / "seen" / D.base_name / "bin").iterdir()) == ["mine", "x"]
        assert (tmp_path / "seen" / C.base_name / "bin" / "x").read_text() == "c"
    finally:
        subprocess.run(["umount", str(tmp_path / "seen")], check=True)

import hashlib
import io
import os
import socket
import stat
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flox_formats.nar import (
    DirectoryEnd,
    DirectoryStart,
    NarEvent,
    NarInvalid,
    RegularFile,
    Symlink,
    dump,
    read_nar,
    restore,
)
from flox_formats.nar_reader import BUFFER_SIZE, MAX_DEPTH
from tests.unit.nar_trees import (
    EXAMPLE,
    TREES,
    File,
    Link,
    Tree,
    archive,
    directory,
    entry,
    nar,
    nested,
    node,
    scratch,
    string,
    strings,
)

NAR = nar(EXAMPLE)


def reader(data: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(data).read


def dumped(path: Path) -> bytes:
    return b"".join(dump(path))


def test_events_come_in_the_nars_order() -> None:
    tree: Tree = {b"a": File(b"xyz", executable=True), b"b": {b"c": Link(b"../a")}, b"d": File(b"")}
    assert list(read_nar(reader(nar(tree)))) == [
        DirectoryStart(b""),
        RegularFile(b"a", executable=True, size=3),
        b"xyz",
        DirectoryStart(b"b"),
        Symlink(b"c", b"../a"),
        DirectoryEnd(),
        RegularFile(b"d", executable=False, size=0),
        DirectoryEnd(),
    ]


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(EXAMPLE, id="directory"),
        pytest.param({}, id="empty-directory"),
        pytest.param(File(b"x"), id="file"),
        pytest.param(File(b"", executable=True), id="empty-executable"),
        pytest.param(Link(b"/nowhere"), id="symlink"),
        pytest.param(File(b"x" * (3 * BUFFER_SIZE + 5)), id="file-of-several-buffers"),
        pytest.param({b"n" * 255: Link(b"t" * 4095)}, id="longest-name-and-target"),
    ],
)
def test_restores_and_dumps(tmp_path: Path, tree: Tree) -> None:
    data = nar(tree)
    assert restore(reader(data), tmp_path / "tree") == len(data)
    assert dumped(tmp_path / "tree") == data


@given(TREES)
@settings(deadline=None)
def test_any_tree_restores_and_dumps(tree: Tree) -> None:
    data = nar(tree)
    with scratch() as root:
        assert restore(reader(data), root / "tree") == len(data)
        assert dumped(root / "tree") == data


@given(st.lists(st.integers(1, 100), min_size=1))
def test_reads_from_a_source_that_gives_little_at_a_time(sizes: list[int]) -> None:
    source, turns = io.BytesIO(NAR), cycle(sizes)
    events = list(read_nar(lambda wanted: source.read(min(wanted, next(turns)))))
    assert _joined(events) == _joined(read_nar(reader(NAR)))


def _joined(events: Iterable[NarEvent]) -> list[NarEvent]:
    """The events with the pieces of each file put together."""
    joined: list[NarEvent] = []
    for event in events:
        if isinstance(event, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += event
        else:
            joined.append(event)
    return joined


def test_modes_and_times_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        restore(reader(NAR), tmp_path / "tree")
    finally:
        os.umask(umask)
    found = {path.name: path.lstat() for path in [tmp_path / "tree", *(tmp_path / "tree").rglob("*")]}
    assert {status.st_mtime_ns for status in found.values()} == {1_000_000_000}
    modes = {name: stat.filemode(status.st_mode) for name, status in found.items()}
    assert [modes[name] for name in ("tree", "bin", "lib")] == ["dr-xr-xr-x"] * 3
    assert (modes["run"], modes["empty"], modes["link"]) == ("-r-xr-xr-x", "-r--r--r--", "lrwxrwxrwx")


NESTED_NAME = entry(b"x", {})
REFUSED = [
    pytest.param(b"", "cut off", id="empty"),
    pytest.param(b"\x0d\0\0", "cut off", id="cut-in-a-length"),
    pytest.param(b"<html>" * 100, "want 'nix-archive-1' '(' 'type', found the bytes 3c68746d6c3e", id="html"),
    pytest.param(nar(EXAMPLE)[:-1], "cut off", id="last-byte-missing"),
    pytest.param(nar(EXAMPLE) + b"\0", "there is more after the end", id="one-byte-more"),
    pytest.param(nar(EXAMPLE) * 2, "there is more after the end", id="twice"),
    pytest.param(archive(strings(b"(", b"type", b"fifo", b")")), "a file of type 'fifo'", id="fifo"),
    pytest.param(archive(strings(b"(", b"type", b"regular", b")")), "want 'contents' or 'exec", id="no-contents"),
    pytest.param(
        archive(strings(b"(", b"type", b"regular", b"executable", b"x", b"contents", b"", b")")),
        "want '' 'contents'",
        id="executable-with-a-value",
    ),
    pytest.param(archive(strings(b"(", b"type", b"symlink", b")")), "want 'target'", id="no-target"),
    pytest.param(nar(Link(b"")), "'' is not a symlink's target", id="empty-target"),
    pytest.param(nar(Link(b"a\0b")), "is not a symlink's target", id="nul-in-target"),
    pytest.param(nar(Link(b"t" * 4096)), "target of 4096 bytes, more than the 4095", id="long-target"),
    pytest.param(nar({b"": {}}), "'' is not a file name", id="empty-name"),
    pytest.param(nar({b".": {}}), "'.' is not a file name", id="dot"),
    pytest.param(nar({b"..": {}}), "'..' is not a file name", id="dots"),
    pytest.param(nar({b"a/b": {}}), "'a/b' is not a file name", id="slash"),
    pytest.param(nar({b"/etc": {}}), "'/etc' is not a file name", id="absolute"),
    pytest.param(nar({b"a\0": {}}), "is not a file name", id="nul-in-name"),
    pytest.param(nar({b"n" * 256: {}}), "a name of 256 bytes, more than the 255", id="long-name"),
    pytest.param(archive(directory(NESTED_NAME, NESTED_NAME)), "the name 'x' comes twice", id="name-twice"),
    pytest.param(
        archive(directory(entry(b"x", Link(b"/etc")), entry(b"x", {b"passwd": File(b"")}))),
        "the name 'x' comes twice",
        id="directory-through-a-symlink",
    ),
    pytest.param(
        archive(directory(entry(b"b", {}), entry(b"a", {}))), "the name 'a' comes after 'b', so not", id="not-sorted"
    ),
    pytest.param(
        archive(directory(entry(b"\xff", {}), entry(b"a", {}))), r"'a' comes after '\\xff'", id="not-sorted-by-bytes"
    ),
    pytest.param(archive(strings(b"(", b"type", b"directory", b"file")), "want 'entry' or ')'", id="other-keyword"),
    pytest.param(NAR.replace(b"1234567\0", b"1234567x"), "in 'a.b': the contents are not padded", id="padding"),
    pytest.param(NAR.replace(b"name" + bytes(4), b"name" + b"\0\0\0x"), "want '(' 'name'", id="padding-of-a-keyword"),
    pytest.param(NAR.replace(b"a.b" + bytes(5), b"a.b" + b"\0\0\0\0x"), "a name is not padded", id="padding-of-a-name"),
    pytest.param(nested(MAX_DEPTH + 1), f"more than {MAX_DEPTH} directories inside each other", id="deep"),
    pytest.param(
        archive(strings(b"(", b"type", b"regular", b"contents")) + b"\xff" * 7 + b"\x7f", "cut off", id="huge-file"
    ),
    pytest.param(
        archive(strings(b"(", b"type", b"regular", b"contents")) + b"\xff" * 8, "more than a file can", id="huger-file"
    ),
    pytest.param(archive(strings(b"(", b"type")) + b"\xff" * 8, "a type of 18446744073709551615", id="huge-keyword"),
]


@pytest.mark.parametrize(("data", "problem"), REFUSED)
def test_refuses(data: bytes, problem: str) -> None:
    with pytest.raises(NarInvalid) as caught:
        list(read_nar(reader(data)))
    assert str(caught.value).startswith("NAR: at byte ")
    assert problem.replace("\\\\", "\\") in str(caught.value).replace("\\\\", "\\")
    assert len(str(caught.value)) < 1000


def test_an_error_names_the_file() -> None:
    data = nar({b"lib": {b"libx.so": File(b"12345678" * 100)}})
    with pytest.raises(NarInvalid, match=r"NAR: at byte \d+, in 'lib/libx\.so': cut off"):
        list(read_nar(reader(data[:600])))


@pytest.mark.parametrize("cut", range(0, len(NAR), 7))
def test_refuses_what_is_cut_off_anywhere(cut: int) -> None:
    with pytest.raises(NarInvalid, match="cut off"):
        list(read_nar(reader(NAR[:cut])))


@given(TREES.map(nar), st.data())
@settings(deadline=None)
def test_a_damaged_nar_is_refused_or_another_tree(data: bytes, draw: st.DataObject) -> None:
    place = draw.draw(st.integers(0, len(data) - 1))
    changed = draw.draw(st.binary(max_size=9))
    damaged = data[:place] + changed + data[place + draw.draw(st.integers(0, 9)) :]
    with scratch() as root:
        try:
            restore(reader(damaged), root / "tree")
        except NarInvalid:
            return
        assert dumped(root / "tree") == damaged


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    for candidate in (data, NAR[: len(NAR) // 2] + data):
        with pytest.raises(NarInvalid):
            list(read_nar(reader(candidate)))


@pytest.mark.parametrize(("data", "problem"), REFUSED)
def test_nothing_is_made_outside_the_target(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "staging").mkdir()
    with pytest.raises(NarInvalid):
        restore(reader(data), tmp_path / "staging" / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["staging"]
    assert {path.name for path in (tmp_path / "staging").iterdir()} <= {"tree"}


def test_does_not_write_through_a_symlink_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    (tmp_path / "tree").symlink_to("secret")
    trees: list[Tree] = [File(b"overwritten"), {b"a": File(b"")}, Link(b"x")]
    for tree in trees:
        with pytest.raises(FileExistsError):
            restore(reader(nar(tree)), tmp_path / "tree")
    assert (tmp_path / "secret").read_text() == "kept"


def test_does_not_replace_a_tree_that_is_there(tmp_path: Path) -> None:
    restore(reader(NAR), tmp_path / "tree")
    with pytest.raises(FileExistsError):
        restore(reader(NAR), tmp_path / "tree")
    assert dumped(tmp_path / "tree") == NAR


def test_an_error_of_the_source_passes_through_and_leaks_nothing(tmp_path: Path) -> None:
    pieces = [NAR[:300]]

    def read(_: int) -> bytes:
        if not pieces:
            raise ConnectionResetError("the cache went away")
        return pieces.pop()

    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(ConnectionResetError):
        restore(read, tmp_path / "tree")
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_deepest_tree_restores_and_dumps(tmp_path: Path) -> None:
    """Its innermost path is longer than Linux takes as one."""
    before = strings(b"(", b"type", b"directory", b"entry", b"(", b"name", b"n" * 200, b"node")
    data = archive(before * MAX_DEPTH + node(File(b"x")) + strings(b")", b")") * MAX_DEPTH)
    target = tmp_path / "tree"
    assert restore(reader(data), target) == len(data)
    assert dumped(target) == data


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    zeros = bytes(BUFFER_SIZE)
    pieces = iter(
        [archive(strings(b"(", b"type", b"regular", b"contents")) + size.to_bytes(8, "little")]
        + [zeros] * (size // BUFFER_SIZE)
        + [string(b")")]
    )
    tracemalloc.start()
    try:
        restore(lambda _: next(pieces, b""), tmp_path / "large")
        hashed = hashlib.sha256()
        for piece in dump(tmp_path / "large"):
            hashed.update(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * BUFFER_SIZE
    assert (tmp_path / "large").stat().st_size == size


def test_dump_takes_the_owners_executable_bit(tmp_path: Path) -> None:
    for name, mode in (("owner", 0o744), ("others", 0o655)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    assert dumped(tmp_path) == nar({b"owner": File(b"", executable=True), b"others": File(b"")})


def test_dump_follows_no_symlink(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert dumped(tmp_path / "link") == nar(Link(os.fsencode(tmp_path)))


def test_dump_takes_a_path_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    monkeypatch.chdir(tmp_path)
    assert dumped(Path()) == dumped(Path("../") / tmp_path.name) == nar({b"a": File(b"")})


def test_dump_refuses_what_a_nar_cannot_hold(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NarInvalid, match="'pipe' is neither a file, a directory nor a symlink"):
        dumped(tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(NarInvalid, match="'socket' is neither"):
            dumped(tmp_path)


def test_dump_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dumped(tmp_path / "absent")

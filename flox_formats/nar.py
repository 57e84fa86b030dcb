"""NARs and trees on a disk: `dump` makes one from the other, `restore` the other from the one.

Belongs here: the only disk access of this package, below the one path that is given. The grammar is `nar_reader.py`'s.
A tree is walked by names relative to an open directory, never by path: depth does not meet the limit on a path's
length, no symlink is followed, and only one directory is open at a time.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from flox_formats.nar_reader import (
    BUFFER_SIZE,
    MAX_DEPTH,
    DirectoryEnd,
    DirectoryStart,
    NarBuffer,
    NarEvent,
    NarInvalid,
    Read,
    RegularFile,
    Symlink,
    nar_string,
    read_events,
    read_nar,
)

__all__ = [
    "DirectoryEnd",
    "DirectoryStart",
    "NarEvent",
    "NarInvalid",
    "RegularFile",
    "Symlink",
    "dump",
    "read_nar",
    "restore",
]

_TIME = (1_000_000_000, 1_000_000_000)  # every file of a store was changed one second after the epoch
_PARENT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # the caller's own, which may well be reached by a symlink
_DIRECTORY = _PARENT | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def restore(read: Read, target: Path) -> int:
    """Makes the tree that a NAR holds at `target`, which must not exist; gives the NAR's size in bytes.

    Files are 0444 or 0555, directories 0555, all of them changed at 1. `read` as for `read_nar`. Raises NarInvalid, or
    OSError for what the disk refuses; the unfinished tree then stays for the caller to remove.
    """
    source = NarBuffer(read)
    tree = _NewTree(target.absolute())
    try:
        for event in read_events(source):
            tree.add(event)
    finally:
        tree.close()
    return source.offset


class _NewTree:
    """A tree that comes into being, event by event."""

    def __init__(self, target: Path) -> None:
        self._root = os.fsencode(target.name)
        self._directory = os.open(target.parent, _PARENT)
        self._file = -1
        self._left = 0  # bytes that the open file still wants

    def add(self, event: NarEvent) -> None:
        match event:
            case bytes():
                self._write(event)
            case RegularFile():
                self._start_file(event)
            case Symlink():
                name = event.name or self._root
                os.symlink(event.target, name, dir_fd=self._directory)
                os.utime(name, ns=_TIME, dir_fd=self._directory, follow_symlinks=False)
            case DirectoryStart():
                name = event.name or self._root
                os.mkdir(name, 0o700, dir_fd=self._directory)  # writable until it is full
                self._move_to(name)
            case DirectoryEnd():
                os.fchmod(self._directory, 0o555)
                os.utime(self._directory, ns=_TIME)
                self._move_to(b"..")

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        os.close(self._directory)

    def _start_file(self, file: RegularFile) -> None:
        mode = 0o555 if file.executable else 0o444
        self._file = os.open(file.name or self._root, _NEW_FILE, mode, dir_fd=self._directory)
        os.fchmod(self._file, mode)  # whatever the umask
        self._left = file.size
        if not file.size:
            self._end_file()

    def _write(self, piece: bytes) -> None:
        written = os.write(self._file, piece)
        while written < len(piece):
            written += os.write(self._file, memoryview(piece)[written:])
        self._left -= len(piece)
        if not self._left:
            self._end_file()

    def _end_file(self) -> None:
        os.utime(self._file, ns=_TIME)
        file, self._file = self._file, -1
        os.close(file)

    def _move_to(self, name: bytes) -> None:
        directory = os.open(name, _DIRECTORY, dir_fd=self._directory)
        os.close(self._directory)
        self._directory = directory


def dump(path: Path) -> Iterator[bytes]:
    """The NAR of the tree at `path`, in pieces; the bytes that `nix-store --dump` writes.

    Raises NarInvalid for what a NAR cannot hold (a device, a socket, a file that shrinks while it is read) and OSError
    for what cannot be read.
    """
    pieces, size = [nar_string(b"nix-archive-1")], 0
    for piece in _node_pieces(path.absolute()):
        pieces.append(piece)
        size += len(piece)
        if size >= BUFFER_SIZE:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join(pieces)


_ENTRY = b"".join(map(nar_string, (b"entry", b"(", b"name")))
_NODE = nar_string(b"node")
_CLOSE = nar_string(b")")
_HEADS = {
    kind: b"".join(map(nar_string, (b"(", b"type", *words)))
    for kind, words in {
        "directory": (b"directory",),
        "symlink": (b"symlink", b"target"),
        "file": (b"regular", b"contents"),
        "executable": (b"regular", b"executable", b"", b"contents"),
    }.items()
}


def _node_pieces(path: Path) -> Iterator[bytes]:
    """Everything after the magic string."""
    directory = os.open(path.parent, _PARENT)
    try:
        name = os.fsencode(path.name)
        waiting: list[list[bytes]] = []  # for each open directory the names that are still to come, last one first
        while True:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if len(waiting) == MAX_DEPTH:
                    raise NarInvalid(f"NAR of {path}: more than {MAX_DEPTH} directories inside each other")
                directory = _moved(directory, name)
                waiting.append(sorted(_names(directory), reverse=True))
                yield _HEADS["directory"]
            else:
                yield from _leaf_pieces(directory, name, status, path)
                yield _CLOSE + _CLOSE if waiting else _CLOSE
            while waiting and not waiting[-1]:
                waiting.pop()
                directory = _moved(directory, b"..")
                yield _CLOSE + _CLOSE if waiting else _CLOSE
            if not waiting:
                return
            name = waiting[-1].pop()
            yield _ENTRY + nar_string(name) + _NODE
    finally:
        os.close(directory)


def _leaf_pieces(directory: int, name: bytes, status: os.stat_result, path: Path) -> Iterator[bytes]:
    if stat.S_ISLNK(status.st_mode):
        yield _HEADS["symlink"] + nar_string(os.readlink(name, dir_fd=directory))
    elif stat.S_ISREG(status.st_mode):
        yield _HEADS["executable" if status.st_mode & stat.S_IXUSR else "file"]
        yield from _contents(directory, name, status.st_size, path)
    else:
        raise NarInvalid(f"NAR of {path}: {os.fsdecode(name)!r} is neither a file, a directory nor a symlink")


def _contents(directory: int, name: bytes, size: int, path: Path) -> Iterator[bytes]:
    yield size.to_bytes(8, "little")
    file = os.open(name, _OLD_FILE, dir_fd=directory)
    try:
        left = size
        while left:
            piece = os.read(file, min(left, BUFFER_SIZE))
            if not piece:
                raise NarInvalid(f"NAR of {path}: {os.fsdecode(name)!r} became shorter while it was read")
            left -= len(piece)
            yield piece
    finally:
        os.close(file)
    yield bytes(-size % 8)


def _names(directory: int) -> list[bytes]:
    with os.scandir(directory) as entries:
        return [os.fsencode(entry.name) for entry in entries]


def _moved(directory: int, name: bytes) -> int:
    """The open directory `name` of `directory`, in its place."""
    moved = os.open(name, _DIRECTORY, dir_fd=directory)
    os.close(directory)
    return moved

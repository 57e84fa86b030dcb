"""Trees as plain values, and their NARs by the shortest code that makes one: what the real reader and writer face."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st


@dataclass(frozen=True)
class File:
    data: bytes
    executable: bool = False


@dataclass(frozen=True)
class Link:
    target: bytes


Tree = File | Link | dict[bytes, "Tree"]


def string(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + b"\0" * (-len(text) % 8)


def strings(*texts: bytes) -> bytes:
    return b"".join(string(text) for text in texts)


def node(tree: Tree) -> bytes:
    match tree:
        case File(data, executable):
            mark = strings(b"executable", b"") if executable else b""
            return strings(b"(", b"type", b"regular") + mark + strings(b"contents", data, b")")
        case Link(target):
            return strings(b"(", b"type", b"symlink", b"target", target, b")")
        case _:
            return directory(*(entry(name, inner) for name, inner in sorted(tree.items())))


def entry(name: bytes, tree: Tree) -> bytes:
    return strings(b"entry", b"(", b"name", name, b"node") + node(tree) + string(b")")


def directory(*entries: bytes) -> bytes:
    return strings(b"(", b"type", b"directory") + b"".join(entries) + string(b")")


def archive(node: bytes) -> bytes:
    return string(b"nix-archive-1") + node


def nar(tree: Tree) -> bytes:
    return archive(node(tree))


def nested(depth: int) -> bytes:
    """A NAR of `depth` directories inside each other."""
    before = strings(b"(", b"type", b"directory")
    inside = strings(b"entry", b"(", b"name", b"d", b"node") + before
    return archive(before + inside * (depth - 1) + strings(b")", b")") * (depth - 1) + string(b")"))


NAMES = (
    st.binary(min_size=1, max_size=255)
    .map(lambda name: name.replace(b"/", b"%").replace(b"\0", b"%"))
    .filter(lambda name: name not in (b".", b".."))
)
LEAVES = st.builds(File, st.binary(max_size=100), st.booleans()) | st.builds(
    Link, st.binary(min_size=1, max_size=100).map(lambda target: target.replace(b"\0", b"%"))
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
EXAMPLE: Tree = {
    b"bin": {b"run": File(b"#!/bin/sh\n" + b"true\n" * 50, executable=True), b"empty": File(b"")},
    b"lib": {},
    b"link": Link(b"../../etc/passwd"),
    b"\xff\xfe": File(b"a name that is no UTF-8"),
    b"a": File(b"12345678"),
    b"a.b": File(b"1234567"),
    b"a-": File(b"123456789"),
}


@contextmanager
def scratch() -> Iterator[Path]:
    """A new directory, for restoring into; an owner who is not root may not remove what is in a read-only one."""
    root = Path(tempfile.mkdtemp())
    try:
        yield root
    finally:
        for directory, _, _ in os.walk(root):
            Path(directory).chmod(0o700)
        shutil.rmtree(root)

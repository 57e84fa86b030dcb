"""NARs that somebody made to get out of the store: whatever they hold, only the target is touched.

Made of a NAR's own words, in wrong orders and with names that mean something elsewhere, so that most get far.
"""

import io
import os
import random
from pathlib import Path

import pytest

from flox_formats.nar import NarInvalid, dump, restore
from tests.fuzz.budget import rounds
from tests.unit.nar_trees import EXAMPLE, File, Link, Tree, archive, directory, nar, node, scratch, string, strings

NAMES = [
    b"a",
    b"b",
    b".",
    b"..",
    b"",
    b"/",
    b"/etc",
    b"../x",
    b"a/../../x",
    b"a\nb",
    b"\n",
    b"\x1b[2J",
    b"\xff",
    b"-rf",
    b"~",
    b" ",
    b"$(x)",
    b"a\0b",
    b"n" * 255,
    b"n" * 256,
    b".git",
    b"manifest.lock",
]
TARGETS = [
    b"/",
    b"..",
    b"../canary",
    b"/etc/passwd",
    b".",
    b"a",
    b"",
    b"x\0y",
    b"t" * 4095,
    b"t" * 5000,
    b"/proc/self/root",
    b"\n",
]
OWNERS = 0o7000
"""setuid, setgid and sticky: what nothing in the store may have."""


def test_only_the_target_is_touched() -> None:
    restored = 0
    for chance in rounds():
        data = _hostile(chance)
        with scratch() as root:
            (root / "canary").write_text("alive")
            (root / "inner").mkdir()
            before = _state(root)
            try:
                size = restore(io.BytesIO(data).read, root / "inner" / "target")
            except NarInvalid as problem:
                _is_for_a_person(str(problem), f"{chance}: {data!r}")
            else:
                restored += 1
                assert size == len(data), f"{chance}: {data!r}"
                assert b"".join(dump(root / "inner" / "target")) == data, f"{chance}: {data!r}"
            assert _state(root) == before, f"{chance}: {data!r}"
            assert not [it for it in _all(root) if not it.is_symlink() and it.lstat().st_mode & OWNERS], f"{chance}"
    assert restored > 0


@pytest.mark.parametrize(
    ("tree", "inside"),
    [
        pytest.param({b"a": Link(b"../../canary"), b"a.": File(b"x")}, 2, id="symlink-outwards"),
        pytest.param({b"a": Link(b"/"), b"b": {b"c": Link(b"../a/etc")}}, 3, id="symlink-through-a-symlink"),
        pytest.param({b"a\n/etc".replace(b"/", b"%"): File(b""), b"\n": {}}, 2, id="newlines"),
        pytest.param({b"%05d" % number: File(b"") for number in range(20_000)}, 20_000, id="many"),
    ],
)
def test_what_is_odd_and_right_is_restored_as_it_is(tmp_path: Path, tree: Tree, inside: int) -> None:
    (tmp_path / "canary").write_text("alive")
    data = nar(tree)
    restore(io.BytesIO(data).read, tmp_path / "target")
    assert len(list(_all(tmp_path / "target"))) == inside
    assert (tmp_path / "canary").read_text() == "alive"
    assert b"".join(dump(tmp_path / "target")) == data


def _hostile(chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:
        return archive(_node(chance, 4))
    data = bytearray(nar(EXAMPLE) if kind == 1 else archive(_node(chance, 3)))
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(9)] = chance.choice([b"", string(chance.choice(NAMES)), chance.randbytes(8)])
    return bytes(data)


def _node(chance: random.Random, depth: int) -> bytes:
    match chance.randrange(6 if depth else 2):
        case 0:
            return node(File(chance.randbytes(chance.randrange(20)), executable=chance.random() < 0.5))
        case 1:
            return node(Link(chance.choice(TARGETS)))
        case 2:
            return strings(b"(", b"type", chance.choice([b"fifo", b"block", b"regular", b"symlink"])) + string(b")")
        case _:
            names = [chance.choice(NAMES) for _ in range(chance.randrange(4))]
            if chance.random() < 0.8:
                names = sorted(set(names))
            return directory(*(_entry(chance, name, depth) for name in names))


def _entry(chance: random.Random, name: bytes, depth: int) -> bytes:
    return strings(b"entry", b"(", b"name", name, b"node") + _node(chance, depth - 1) + string(b")")


def _all(root: Path) -> list[Path]:
    return [Path(folder, name) for folder, folders, files in os.walk(root) for name in (*folders, *files)]


def _state(root: Path) -> list[tuple[str, int, bytes]]:
    """All but the target."""
    outside = [path for path in _all(root) if (root / "inner" / "target") not in (path, *path.parents)]
    return sorted((str(path), path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") for path in outside)


def _is_for_a_person(sentence: str, said: str) -> None:
    assert sentence.isprintable(), said
    assert len(sentence) < 1000, said

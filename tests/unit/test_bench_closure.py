"""The benchmarks' made-up closure, and the images that are made of it."""

import gzip
import hashlib
import tarfile
from pathlib import Path

import pytest

from bench.closure_cache import Closure, Shape, add_package, make_closure
from bench.peer_image import Packed, tar_of
from flox_formats.narinfo import NarInfo, verify_path
from flox_formats.signature import TrustedKeys
from flox_formats.store_path import StorePath

SHAPE = Shape(paths=60, nar_bytes=400_000)


@pytest.fixture(scope="module")
def closure(tmp_path_factory: pytest.TempPathFactory) -> Closure:
    return make_closure(tmp_path_factory.mktemp("closure") / "here", SHAPE)


def narinfo(closure: Closure, path: StorePath) -> NarInfo:
    return NarInfo.parse((closure.cache.folder / f"{path.hash}.narinfo").read_bytes())


def test_the_closure_has_its_shape(closure: Closure) -> None:
    sizes = [narinfo(closure, path).nar_size for path in closure.paths]
    assert len(set(closure.paths)) == SHAPE.paths
    assert SHAPE.nar_bytes < sum(sizes) < 2 * SHAPE.nar_bytes  # a NAR has headers, which small files feel


def test_every_path_is_reached_from_the_roots(closure: Closure) -> None:
    reached, waiting = set[StorePath](), list(closure.roots)
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += narinfo(closure, path).references
    assert reached == set(closure.paths)


def test_every_path_is_signed(closure: Closure) -> None:
    trusted = TrustedKeys([closure.cache.public_key])
    for path in closure.paths:
        info = narinfo(closure, path)
        verify_path(path, info.nar_hash, info.nar_size, info.references, info.signatures, info.content_address, trusted)


def test_the_same_shape_gives_the_same_closure(closure: Closure, tmp_path: Path) -> None:
    assert make_closure(tmp_path / "again", SHAPE).paths == closure.paths


def test_a_changed_package_is_another_one_each_time(closure: Closure) -> None:
    first, second = (add_package(closure, name, 1000) for name in ("changed-1", "changed-2"))
    assert narinfo(closure, first).nar_hash != narinfo(closure, second).nar_hash
    assert narinfo(closure, first).references == closure.paths[:1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "program").write_bytes(b"x" * 700)
    (tree / "bin" / "program").chmod(0o755)
    (tree / "bin" / "link").symlink_to("program")
    (tree / "empty").write_bytes(b"")
    return tree


def test_a_layer_is_a_tar_of_its_beginning_and_its_end(tree: Path, tmp_path: Path) -> None:
    beginning = Packed.pack(tmp_path / "beginning.gz", tar_of(tree, "nix/store/a"))
    layer = beginning.layer(tmp_path / "layer.tar.gz", tar_of(tree, "nix/store/b"))
    with tarfile.open(layer.file, "r:gz") as opened:
        program = opened.getmember("nix/store/b/bin/program")
        extracted = opened.extractfile(program)
        assert extracted is not None
        assert (program.mode, extracted.read()) == (0o755, b"x" * 700)
        assert opened.getmember("nix/store/a/bin/link").linkname == "program"
        assert opened.getnames() == [
            f"nix/store/{name}{inside}"
            for name in "ab"
            for inside in ("", "/empty", "/bin", "/bin/link", "/bin/program")
        ]


def test_a_diff_id_is_of_the_whole_tar(tree: Path, tmp_path: Path) -> None:
    beginning = Packed.pack(tmp_path / "beginning.gz", tar_of(tree, "a"))
    for name in ("first", "second"):  # the beginning is not used up
        layer = beginning.layer(tmp_path / f"{name}.tar.gz", tar_of(tree, name))
        assert layer.diff_id.hex == hashlib.sha256(gzip.decompress(layer.file.read_bytes())).hexdigest()

"""The file `config.json`: read with care, replaced whole."""

import os
from pathlib import Path

import pytest

from shim_hooks.bundle.file import read_spec, write_spec
from shim_hooks.errors import BundleInvalid, StoreFailed
from tests.conftest import needs_root

TEXT = '{"process":{"env":["A=1"]},"root":{"path":"rootfs"}}'


def bundle(tmp_path: Path, text: str = TEXT) -> Path:
    (tmp_path / "config.json").write_text(text)
    return tmp_path


def test_reads_and_writes_back(tmp_path: Path) -> None:
    spec = read_spec(bundle(tmp_path))
    write_spec(tmp_path, spec.with_env(["A=2", "B=ü"]))
    assert read_spec(tmp_path).env == ("A=2", "B=ü")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_keeps_mode_and_owner(tmp_path: Path) -> None:
    needs_root()
    path = bundle(tmp_path) / "config.json"
    path.chmod(0o640)
    os.chown(path, 1234, 5678)
    write_spec(tmp_path, read_spec(tmp_path))
    after = path.stat()
    assert (after.st_mode & 0o7777, after.st_uid, after.st_gid) == (0o640, 1234, 5678)


def test_a_reader_of_before_is_not_disturbed(tmp_path: Path) -> None:
    spec = read_spec(bundle(tmp_path))
    with (tmp_path / "config.json").open() as before:
        write_spec(tmp_path, spec.with_env([]))
        assert before.read() == TEXT


def _symlink(path: Path) -> None:
    path.symlink_to("elsewhere.json")
    path.with_name("elsewhere.json").write_text(TEXT)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: None, "No such file", id="missing"),
        pytest.param(Path.mkdir, "not a regular file", id="folder"),
        pytest.param(os.mkfifo, "not a regular file", id="fifo"),
        pytest.param(_symlink, "cannot be read: Too many levels of symbolic links", id="symlink"),
        pytest.param(lambda path: path.write_bytes(b" " * (9 << 20)), "more than the", id="too-large"),
        pytest.param(lambda path: path.write_text("no"), "not JSON", id="no-json"),
    ],
)
def test_refuses(tmp_path: Path, make: "object", words: str) -> None:
    assert callable(make)
    make(tmp_path / "config.json")
    with pytest.raises(BundleInvalid) as refused:
        read_spec(tmp_path)
    assert words in str(refused.value)


def test_a_bundle_that_is_gone_cannot_be_written(tmp_path: Path) -> None:
    spec = read_spec(bundle(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(StoreFailed, match="cannot be written: No such file"):
        write_spec(tmp_path, spec)
    assert list(tmp_path.iterdir()) == []

"""How a directory differs from what has to be in it, whatever is in there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flox_formats.store_path import StorePath
from shim_hooks.environment.environment_directory import Files, write_environment
from shim_hooks.environment.verify_links import difference

FILES: Files = {
    "bin": None,
    "bin/sub": None,
    "bin/sub/tool": "/nix/store/x/bin/sub/tool",
    "share": "/nix/store/x/share",
    "odd\n\udcff": "/nix/store/x/odd",
    "manifest.lock": b"{}",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_environment(tmp_path / "e", FILES, StorePath("1" * 32, "environment-web"))
    for folder in ("", "bin", "bin/sub"):
        (tmp_path / "e" / folder).chmod(0o755)
    return tmp_path / "e"


def test_what_is_right(directory: Path) -> None:
    assert difference(directory, FILES) is None


def put(path: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        place = directory / path
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        make(place)

    return damage


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        pytest.param(put("share", Path.mkdir), "has 'share', which is no symlink", id="directory-for-a-link"),
        pytest.param(put("share", lambda it: it.symlink_to("/x")), "leads to '/x' and not to '/nix", id="link"),
        pytest.param(put("share", lambda it: it.write_text("")), "has 'share', which is no symlink", id="file"),
        pytest.param(put("share", lambda it: None), "lacks 'share'", id="missing-link"),
        pytest.param(put("bin", lambda it: None), "lacks 'bin'", id="missing-directory"),
        pytest.param(put("bin/sub/tool", lambda it: None), "lacks 'bin/sub/tool'", id="missing-below"),
        pytest.param(put("bin/more", Path.mkdir), "has 'bin/more', which does not belong there", id="more"),
        pytest.param(put("bin/sub", lambda it: it.symlink_to(".")), "has 'bin/sub', which is no directory", id="loop"),
        pytest.param(put("manifest.lock", os.mkfifo), "has 'manifest.lock', which is no file", id="fifo"),
        pytest.param(put("manifest.lock", lambda it: it.symlink_to("/x")), "which is no file", id="link-for-a-file"),
        pytest.param(put("manifest.lock", lambda it: it.write_bytes(b"{")), "has 1 bytes and not 2", id="cut"),
        pytest.param(put("manifest.lock", lambda it: it.write_bytes(b"[]")), "which has other bytes", id="bytes"),
        pytest.param(put("", lambda it: it.write_text("")), "is no directory", id="file-for-all"),
        pytest.param(put("", lambda it: it.symlink_to("/")), "is no directory", id="link-for-all"),
        pytest.param(put("", lambda it: None), "cannot be read: No such file or directory", id="nothing"),
    ],
)
def test_what_is_not(directory: Path, damage: Callable[[Path], None], why: str) -> None:
    damage(directory)
    found = difference(directory, FILES)
    assert found is not None
    assert why in found


def test_names_are_shown_on_one_printable_line(directory: Path) -> None:
    place = directory / "odd\n\udcff"
    place.unlink()
    assert difference(directory, FILES) == r"lacks 'odd\n\udcff'"
    place.symlink_to("/elsewhere\n\udcff")
    found = difference(directory, FILES)
    assert found is not None
    assert found.isprintable()

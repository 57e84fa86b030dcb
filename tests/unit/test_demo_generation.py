import io
import lzma
import tomllib
from pathlib import Path

import pytest

from flox_formats.lockfile import Lockfile
from flox_formats.nar import restore
from flox_formats.narinfo import NarInfo, verify_path
from flox_formats.signature import TrustedKeys
from flox_formats.system import System
from floxbridge_demo.busybox import BusyboxMissing, is_static, static_busybox
from floxbridge_demo.generation import Generation
from floxbridge_demo.nix_cache import NixCache
from floxbridge_demo.packages import Packages
from tests.conftest import cannot_run


def made(folder: Path) -> tuple[NixCache, Packages]:
    try:
        static_busybox()
    except BusyboxMissing as error:
        cannot_run(str(error))
    cache = NixCache.make(folder / "cache")
    return cache, Packages.build(cache, folder / "scratch")


def test_the_lockfile_selects_what_the_cache_has(tmp_path: Path) -> None:
    cache, packages = made(tmp_path)
    both = (packages.echoip, packages.greeting)
    files = Generation(packages.system, both, "echoip", {"NOTE": 'with "quotes"'}).write(tmp_path / "generation")

    lockfile = Lockfile.parse(files.lock.read_bytes())
    assert lockfile.linux_systems() == (packages.system,)
    selected = [it.store_path for it in lockfile.selected_outputs(packages.system)]
    assert selected == [packages.echoip.path, packages.greeting.path]
    assert lockfile.manifest.containerize.cmd == ("echoip",)
    assert all((cache.folder / f"{path.hash}.narinfo").exists() for path in selected)

    manifest = tomllib.loads(files.manifest.read_text())
    assert manifest["install"] == {"echoip": {"pkg-path": "echoip"}, "greeting": {"pkg-path": "greeting"}}
    assert manifest["vars"] == dict(lockfile.manifest.vars)
    assert ("hook" in manifest, lockfile.manifest.hook_on_activate) == (False, None)


def test_a_hook_is_in_both_files(tmp_path: Path) -> None:
    hook = 'export A="$B"\ntrue\n'
    files = Generation(System.X86_64_LINUX, (), "true", hook=hook).write(tmp_path / "generation")
    assert tomllib.loads(files.manifest.read_text())["hook"] == {"on-activate": hook}
    assert Lockfile.parse(files.lock.read_bytes()).manifest.hook_on_activate == hook


def test_every_path_of_the_cache_is_signed_and_whole(tmp_path: Path) -> None:
    cache, _ = made(tmp_path)
    infos = [NarInfo.parse(file.read_bytes()) for file in cache.folder.glob("*.narinfo")]
    assert len(infos) == 3
    for info in infos:
        verify_path(
            info.store_path,
            info.nar_hash,
            info.nar_size,
            info.references,
            info.signatures,
            info.content_address,
            TrustedKeys([cache.public_key]),
        )
        nar = io.BytesIO(lzma.decompress((cache.folder / info.url).read_bytes()))
        assert restore(nar.read, tmp_path / info.store_path.base_name) == info.nar_size


def test_scripts_name_their_interpreter_by_its_store_path(tmp_path: Path) -> None:
    cache, packages = made(tmp_path)
    info = NarInfo.parse((cache.folder / f"{packages.echoip.path.hash}.narinfo").read_bytes())
    (busybox,) = info.references
    first_line = (tmp_path / "scratch" / "echoip" / "bin" / "echoip").read_text().splitlines()[0]
    assert first_line == f"#!{busybox}/bin/sh"


def test_two_caches_hold_the_same_paths(tmp_path: Path) -> None:
    assert made(tmp_path / "one")[1] == made(tmp_path / "other")[1]


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"#!/bin/sh\n" + bytes(100), id="script"),
        pytest.param(b"\x7fELF\x01" + bytes(100), id="elf-of-32-bits"),
        pytest.param(b"\x7fELF\x02" + b"\xff" * 100, id="headers-outside-of-the-file"),
    ],
)
def test_is_not_a_static_program(program: bytes) -> None:
    assert not is_static(program)


def test_tells_static_from_dynamic() -> None:
    assert not is_static(Path("/proc/self/exe").read_bytes())

"""The linked environment as a directory: its name, its files, and that it is the same each time."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import Lockfile
from flox_formats.outputs import SelectedOutput
from flox_formats.store_path import StorePath
from flox_formats.system import System
from shim_hooks.environment.activation_files import RECORD
from shim_hooks.environment.environment_directory import environment_path, planned_files, write_environment
from shim_hooks.environment.link import Directory, LinkPlan, Symlink
from shim_hooks.environment.mode import Mode
from shim_hooks.errors import StoreFailed

WEB = EnvironmentName.parse("acme/web")
LOCK = Lockfile.parse(b'{"lockfile-version":1,"manifest":{"version":1},"packages":[]}')
OUTPUT = SelectedOutput("hello", "out", StorePath("0" * 32, "hello"), 5)
ENV_PATH = StorePath("1" * 32, "environment-web")
PLAN = LinkPlan(
    (
        Directory("bin"),
        Symlink("share", "/nix/store/x/share"),
        Symlink("activate.d", "/nix/store/x/activate.d"),
        Symlink("manifest.lock", "/nix/store/x/manifest.lock"),
        Directory("requisites.txt"),
        Symlink("requisites.txt/inside", "/nix/store/x/requisites.txt/inside"),
        Symlink("bin/\udcff", "/nix/store/x/bin/\udcff"),
        Symlink("bin/hello", "/nix/store/x/bin/hello"),
    ),
    (OUTPUT.store_path,),
)


def named(
    environment: EnvironmentName = WEB,
    lockfile: Digest = LOCK.digest,
    system: System = System.X86_64_LINUX,
    mode: Mode = Mode.RUN,
    outputs: tuple[SelectedOutput, ...] = (OUTPUT,),
) -> StorePath:
    return environment_path(environment, lockfile, system, mode, outputs)


def test_the_name_is_frozen() -> None:
    """A change here gives every environment on every node another FLOX_ENV: raise the format with it."""
    assert str(named()) == "/nix/store/3k9gcdc77y3ss1697638ypjbz6x6b32g-environment-web"


def test_the_name_tells_apart_what_differs() -> None:
    names = [
        named(),
        named(environment=EnvironmentName.parse("acme/Web")),
        named(environment=EnvironmentName.parse("other/web")),
        named(lockfile=Digest.of(b"other")),
        named(system=System.AARCH64_LINUX),
        named(mode=Mode.DEV),
        named(outputs=()),
        named(outputs=(replace(OUTPUT, priority=4),)),
        named(outputs=(replace(OUTPUT, output=None),)),
        named(outputs=(replace(OUTPUT, install_id="other"),)),
    ]
    assert len({path.hash for path in names}) == len(names)


def test_the_longest_name_is_a_store_path() -> None:
    path = named(environment=EnvironmentName("a" * 100, "b" * 100))
    assert StorePath.parse(str(path)) == path


def write(target: Path) -> None:
    closure = [StorePath("2" * 32, "b"), OUTPUT.store_path]
    scripts = {"activate.d/envrc": b"A", "activate.d/floxbridge/start.bash": b"B", f"{RECORD}/README": b"C"}
    files = planned_files(PLAN, env_path=ENV_PATH, lockfile=LOCK, closure=closure, scripts=scripts)
    write_environment(target, files, ENV_PATH)


def test_what_is_in_it(tmp_path: Path) -> None:
    write(tmp_path / "e")
    assert sorted(os.listdir(tmp_path / "e")) == [  # noqa: PTH208
        "activate.d",
        "bin",
        "manifest.lock",
        "requisites.txt",
        "share",
    ]
    assert (tmp_path / "e" / "activate.d" / "envrc").read_bytes() == b"A"
    assert (tmp_path / "e" / "share").readlink() == Path("/nix/store/x/share")
    assert os.readlink(tmp_path / "e" / "bin" / "\udcff") == "/nix/store/x/bin/\udcff"  # noqa: PTH115
    assert (tmp_path / "e" / "manifest.lock").read_bytes() == LOCK.data
    assert (tmp_path / "e" / "requisites.txt").read_text() == (
        "/nix/store/00000000000000000000000000000000-hello\n"
        "/nix/store/11111111111111111111111111111111-environment-web\n"
        "/nix/store/22222222222222222222222222222222-b\n"
    )


def test_times_and_modes_are_those_of_a_nix_store(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(tmp_path / "e")
    finally:
        os.umask(before)
    found = {
        place.relative_to(tmp_path).as_posix(): (oct(place.lstat().st_mode & 0o777), place.lstat().st_mtime)
        for place in (tmp_path / "e", *(tmp_path / "e").rglob("*"))
        if not place.is_symlink()
    }
    assert found == {
        "e": ("0o555", 1.0),
        "e/activate.d": ("0o555", 1.0),
        "e/activate.d/envrc": ("0o444", 1.0),
        "e/activate.d/floxbridge": ("0o555", 1.0),
        "e/activate.d/floxbridge/record": ("0o700", 1.0),
        "e/activate.d/floxbridge/record/README": ("0o444", 1.0),
        "e/activate.d/floxbridge/start.bash": ("0o444", 1.0),
        "e/bin": ("0o555", 1.0),
        "e/manifest.lock": ("0o444", 1.0),
        "e/requisites.txt": ("0o444", 1.0),
    }
    assert (tmp_path / "e" / "share").lstat().st_mtime == 1.0


def test_a_disk_that_does_not_do_it(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match=r"writing environment /nix/store/1.*-environment-web"):
        write(tmp_path / "none" / "e")

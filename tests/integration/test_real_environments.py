"""Whole environments on a disk: the shapes of real lockfiles, with generated packages behind their store paths.

The project's own lockfiles, which have every shape that was found, stand in where the real ones are not there.
"""

from pathlib import Path

import pytest

from flox_formats.closure import ClosureDocument, ClosurePath, ClosureRoot
from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import Lockfile
from flox_formats.narinfo import Compression
from flox_formats.outputs import SelectedOutput
from flox_formats.store_path import StorePath
from flox_formats.system import System
from shim_hooks.environment.environment_directory import ensure_environment
from shim_hooks.environment.mode import Mode
from shim_hooks.store.closures import ClosureRecord
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.store_tree import StoreTree
from tests.real_lockfiles import REAL_LOCKFILES

WEB, SYSTEM = EnvironmentName.parse("acme/web"), System.X86_64_LINUX
_OURS = sorted((Path(__file__).parents[1] / "fixtures" / "lockfiles").glob("*.lock"))
_ANY = Digest.of(b"")


_SERVED = [path for path in (*REAL_LOCKFILES, *_OURS) if SYSTEM in Lockfile.parse(path.read_bytes()).linux_systems()]


def build(store: NodeStore, output: SelectedOutput, brings: StorePath) -> None:
    """A package with a program, a manual page and files that no environment takes; it propagates another package."""
    root = store.public.path_of(output.store_path)
    name = f"{output.install_id}-{output.output}"
    files = {
        f"bin/{name}": "#!/bin/sh\n",
        f"share/man/man1/{name}.1": name,
        f"share/{name}/log": "left alone: only one package has this folder",
        f"only-{name}/x": "x",
        "share/info/dir": "of everybody",
        "nix-support/propagated-build-inputs": f"{brings}\n",
    }
    for place, text in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)


def described(path: StorePath) -> ClosurePath:
    return ClosurePath(path, _ANY, 1, (), (), None, _ANY, 1, Compression.NONE)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("path", _SERVED, ids=lambda path: path.stem)
def test_an_environment(tmp_path: Path, path: Path, mode: Mode) -> None:
    lockfile = Lockfile.parse(path.read_bytes())
    outputs = lockfile.selected_outputs(SYSTEM)
    store, brought = NodeStore(tmp_path), StorePath("0" * 32, "brought-1.0")
    (store.public.path_of(brought) / "include").mkdir(parents=True)
    for output in outputs:
        build(store, output, brought)
    paths = tuple(described(each) for each in sorted({brought, *(output.store_path for output in outputs)}))
    roots = tuple(ClosureRoot(each.install_id, each.output, each.store_path, each.priority) for each in outputs)
    record = ClosureRecord(lockfile, ClosureDocument(SYSTEM, roots, paths))
    env_path, _ = ensure_environment(store, store.public, WEB, record, SYSTEM, mode)
    environment = store.public.path_of(env_path)

    assert (environment / "manifest.lock").read_bytes() == path.read_bytes()
    assert (environment / "activate.d" / "envrc").is_file()
    hook = environment / "activate.d" / "hook-on-activate"
    assert hook.exists() is (lockfile.manifest.hook_on_activate is not None)
    expected = {"manifest.lock", "requisites.txt", "activate.d"}
    if outputs:
        expected |= {"bin", "share", *(f"only-{each.install_id}-{each.output}" for each in outputs)}
    if outputs and mode is Mode.DEV:
        expected.add("include")
    assert {entry.name for entry in environment.iterdir()} == expected
    tree = StoreTree(store.store_dir)
    programs = tree.entries(f"{env_path}/bin") if len(outputs) > 1 else {}
    assert len(programs) == (len(outputs) if len(outputs) > 1 else 0)
    for output in outputs:
        name = f"{output.install_id}-{output.output}"
        link = environment / "bin" / name if len(outputs) > 1 else environment / "bin"
        target = f"{output.store_path}/bin/{name}" if len(outputs) > 1 else f"{output.store_path}/bin"
        assert str(link.readlink()) == target
    store.close()


def test_it_is_made_once(tmp_path: Path) -> None:
    lockfile = Lockfile.parse(b'{"lockfile-version":1,"manifest":{"version":1},"packages":[]}')
    store, record = NodeStore(tmp_path), ClosureRecord(lockfile, ClosureDocument(SYSTEM, (), ()))
    assert [ensure_environment(store, store.public, WEB, record, SYSTEM, Mode.RUN)[1] for _ in range(2)] == [
        True,
        False,
    ]
    store.close()

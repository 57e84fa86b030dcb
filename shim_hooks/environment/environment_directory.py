"""The linked environment as a directory: what a container finds where FLOX_ENV points (FH §6.3).

Belongs here: its name, and its files beside the links. Does not: what is linked (`link.py`), and what is in the scripts
of its activation (`activation_files.py`).
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from flox_formats import nix_base32
from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.json_document import canonical_json
from flox_formats.lockfile import Lockfile
from flox_formats.outputs import SelectedOutput
from flox_formats.store_path import StorePath
from flox_formats.system import System
from shim_hooks.environment.activation_files import FOLDER as ACTIVATION
from shim_hooks.environment.activation_files import RECORD, activation_files
from shim_hooks.environment.link import Directory, LinkPlan, plan_links
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.tree import Tree
from shim_hooks.errors import StoreFailed
from shim_hooks.store.closures import ClosureRecord
from shim_hooks.store.disk import disk_errors
from shim_hooks.store.linked_environments import Linked
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.store_folders import StoreFolders

_FORMAT = 3
"""Part of the name: raise it when the same lockfile shall give other files."""

_LOCKFILE, _REQUISITES = "manifest.lock", "requisites.txt"
DIRECTORY = None
Content = bytes | str | None
"""What is in a file, where a symlink leads, or that there is a directory."""

Files = Mapping[str, Content]
"""By path below the environment, a directory before what is in it."""

_OWN = {_LOCKFILE, _REQUISITES, ACTIVATION}
_RECORD_MODE = 0o700  # runc 1.1 gives a tmpfs the mode of what it covers, whatever mode was asked for
_TIME_NS = (1_000_000_000, 1_000_000_000)  # as everything in a Nix store


def environment_path(
    environment: EnvironmentName, lockfile: Digest, system: System, mode: Mode, outputs: Sequence[SelectedOutput]
) -> StorePath:
    """`<hash>-environment-<name>`: the hash is of all that decides what is in it, the first 20 bytes of its sha256.

    It is in the manner of Nix, and none of Nix's own: no path that Nix makes has a name of this origin.
    """
    description = {
        "format": _FORMAT,
        "environment": str(environment),
        "lockfile": str(lockfile),
        "system": system.value,
        "mode": mode.value,
        "outputs": [[each.install_id, each.output, str(each.store_path), each.priority] for each in outputs],
    }
    digest = hashlib.sha256(b"floxbridge environment\n" + canonical_json(description)).digest()
    return StorePath(nix_base32.encode(digest[:20]), f"environment-{environment.name}")


def ensure_environment(
    store: NodeStore,
    folders: StoreFolders,
    environment: EnvironmentName,
    record: ClosureRecord,
    system: System,
    mode: Mode,
) -> tuple[StorePath, bool]:
    """The linked environment of a closure that is complete in `folders`, and whether it was made just now. Blocks.

    Raises LinkConflict, ContentRejected, Refused for `[vars]` that cannot be variables, and StoreFailed.
    """
    env_path = environment_path(
        environment, record.lockfile.digest, system, mode, record.lockfile.selected_outputs(system)
    )
    linked = Linked(environment, record.key, mode)
    if folders.has(env_path):
        if not store.linked.has(env_path):
            with suppress(StoreFailed):  # that it cannot be compared later is no reason to start no container now
                store.linked.keep(env_path, linked)
        return env_path, False
    store.linked.keep(env_path, linked)
    files = environment_files(folders.tree, environment, record, mode, env_path)
    with store.staging() as staging:
        write_environment(staging / env_path.base_name, files, env_path)
        store.publish(staging / env_path.base_name, folders.own / env_path.base_name)
    return env_path, True


def environment_files(
    tree: Tree, environment: EnvironmentName, record: ClosureRecord, mode: Mode, env_path: StorePath
) -> Files:
    """What belongs into the environment `env_path`. The same each time, so that one can be compared with it."""
    plan = plan_links(record.lockfile.selected_outputs(record.document.system), tree, mode)
    return planned_files(
        plan,
        env_path=env_path,
        lockfile=record.lockfile,
        closure=[path.store_path for path in record.document.paths],
        scripts=activation_files(environment, record.lockfile),
    )


def planned_files(
    plan: LinkPlan,
    *,
    env_path: StorePath,
    lockfile: Lockfile,
    closure: Iterable[StorePath],
    scripts: Mapping[str, bytes],
) -> Files:
    """`manifest.lock`, `requisites.txt` and `activate.d` at the top are the environment's own, whatever the packages
    have there. `scripts` are the files of the last one, by path below the environment.
    """
    files: dict[str, Content] = {
        entry.path: DIRECTORY if isinstance(entry, Directory) else entry.target
        for entry in plan.entries
        if entry.path.partition("/")[0] not in _OWN
    }
    folders = {str(parent) for path in scripts for parent in PurePosixPath(path).parents[:-1]}
    requisites = "".join(f"{path}\n" for path in sorted(map(str, {*closure, env_path})))
    own = {_LOCKFILE: lockfile.data, _REQUISITES: requisites.encode(), **scripts}
    return {**files, **dict.fromkeys(sorted(folders), DIRECTORY), **own}


def write_environment(target: Path, files: Files, env_path: StorePath) -> None:
    """Makes the directory `target`, which will be `env_path`. Raises StoreFailed."""
    with disk_errors(f"writing environment {env_path}", target.parent):
        target.mkdir()
        directories = [target]
        for path, content in files.items():
            place = target / path
            if isinstance(content, bytes):
                _write(place, content)
            elif isinstance(content, str):
                place.symlink_to(content)
                os.utime(place, ns=_TIME_NS, follow_symlinks=False)
            else:
                place.mkdir()
                directories.append(place)
        for directory in reversed(directories):
            directory.chmod(_RECORD_MODE if directory == target / RECORD else 0o555)
            os.utime(directory, ns=_TIME_NS)


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    file.chmod(0o444)
    os.utime(file, ns=_TIME_NS)

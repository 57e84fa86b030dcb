"""Whether linked environments are still what their closures make of them: each is planned anew and compared.

Belongs here: comparing. Does not: mending (`repair.py`), nor store paths that have a promised hash (`store/verify.py`).
"""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flox_formats.store_path import StorePath, StorePathInvalid
from shim_hooks.environment.environment_directory import Content, Files, environment_files, environment_path
from shim_hooks.errors import NodeError
from shim_hooks.store.closures import ClosureRecord
from shim_hooks.store.disk import disk_errors
from shim_hooks.store.linked_environments import Linked
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.store_folders import StoreFolders


@dataclass(frozen=True, slots=True)
class BrokenLinks:
    """An environment that is not what `linked` makes; `why` says how it differs first. It lies in `folders.own`."""

    path: StorePath
    folders: StoreFolders
    linked: Linked
    why: str

    @property
    def place(self) -> Path:
        return self.folders.own / self.path.base_name


@dataclass(frozen=True, slots=True)
class NotCompared:
    """Something in the store that no record of this node explains, or not now."""

    path: StorePath
    place: Path
    why: str


@dataclass(frozen=True, slots=True)
class VerifiedLinks:
    """`environments` were compared."""

    environments: int
    broken: tuple[BrokenLinks, ...]
    not_compared: tuple[NotCompared, ...]


def verify_links(store: NodeStore, broken_paths: Collection[StorePath]) -> VerifiedLinks:
    """Of everything in the store that no closure promises. What links to `broken_paths` cannot be told. Blocks."""
    linked, promised = store.linked.read(), _promised(store)
    compared, broken, unknown = 0, list[BrokenLinks](), list[NotCompared]()
    for folders, path in _entries(store):
        if path in promised:
            continue
        place = folders.own / path.base_name
        if path not in linked:
            unknown.append(NotCompared(path, place, "belongs to nothing that is recorded here"))
            continue
        try:
            files = planned(store, folders, path, linked[path], broken_paths)
        except NodeError as problem:
            unknown.append(NotCompared(path, place, str(problem)))
            continue
        compared += 1
        why = difference(place, files)
        if why is not None:
            broken.append(BrokenLinks(path, folders, linked[path], why))
    return VerifiedLinks(
        compared,
        tuple(each for each in broken if os.path.lexists(each.place)),  # others were taken away meanwhile
        tuple(each for each in unknown if os.path.lexists(each.place)),
    )


class NotTold(NodeError):
    """Nobody can say what ought to be in an environment."""


def planned(
    store: NodeStore, folders: StoreFolders, path: StorePath, linked: Linked, broken_paths: Collection[StorePath]
) -> Files:
    """What has to be in the environment `path` of `folders`. Raises NotTold, and what `environment_files` does."""
    record = store.closures.read(linked.closure)
    if record is None:
        raise NotTold("its closure is not recorded here any more")
    broken = [each.store_path for each in record.document.paths if each.store_path in broken_paths]
    if broken:
        raise NotTold(f"it links to what is broken itself: {', '.join(map(str, broken[:3]))}")
    if _name(record, linked) != path:
        raise NotTold("another version of floxbridge made it")
    return environment_files(folders.tree, linked.environment, record, linked.mode, path)


def difference(directory: Path, files: Files) -> str | None:
    """How `directory` differs first from what has to be in it; None where it does not."""
    seen = set[str]()
    try:
        if not stat.S_ISDIR(directory.lstat().st_mode):
            return "is no directory"
        for path, entry in _walk(directory):
            if path not in files:
                return f"has {path!r}, which does not belong there"
            why = _content_difference(entry, files[path])
            if why is not None:
                return f"has {path!r}, which {why}"
            seen.add(path)
    except OSError as problem:
        return f"cannot be read: {problem.strerror}"
    missing = next((path for path in files if path not in seen), None)
    return None if missing is None else f"lacks {missing!r}"


def _name(record: ClosureRecord, linked: Linked) -> StorePath:
    outputs = record.lockfile.selected_outputs(linked.closure.system)
    return environment_path(linked.environment, linked.closure.lockfile, linked.closure.system, linked.mode, outputs)


def _content_difference(entry: "os.DirEntry[str]", wanted: Content) -> str | None:
    if wanted is None:
        return None if entry.is_dir(follow_symlinks=False) else "is no directory"
    if isinstance(wanted, str):
        if not entry.is_symlink():
            return "is no symlink"
        found = os.readlink(entry)  # noqa: PTH115 - as it is spelled
        return None if found == wanted else f"leads to {found!r} and not to {wanted!r}"
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return "is no file"
    if status.st_size != len(wanted):
        return f"has {status.st_size} bytes and not {len(wanted)}"
    return None if Path(entry).read_bytes() == wanted else "has other bytes"


def _walk(directory: Path) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Everything below it, by the path from there; links are not followed."""
    todo = [("", os.fspath(directory))]
    while todo:
        prefix, folder = todo.pop()
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            yield prefix + entry.name, entry
            if entry.is_dir(follow_symlinks=False):
                todo.append((f"{prefix}{entry.name}/", entry.path))


def _promised(store: NodeStore) -> set[StorePath]:
    records = (store.closures.read(key) for key in store.closures.recorded())
    return {path.store_path for record in records if record is not None for path in record.document.paths}


def _entries(store: NodeStore) -> Iterator[tuple[StoreFolders, StorePath]]:
    """What lies in the own of each."""
    for folders in store.all_folders():
        names = list[str]()
        with disk_errors("listing the node store", store.root), suppress(FileNotFoundError):  # swept: it was empty
            names = sorted(os.listdir(folders.own))  # noqa: PTH208 - names, and many of them
        for name in names:
            with suppress(StorePathInvalid):  # nothing of ours
                yield folders, StorePath.from_base_name(name)

"""Whether the store still has the bytes that were promised: every path is hashed anew.

Belongs here: comparing. Does not: mending (`environment/repair.py`). Linked environments have no promised hash; they
are made of links to what is compared here.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flox_formats.closure import ClosurePath
from flox_formats.nar import dump
from flox_formats.nar_reader import NarInvalid
from shim_hooks.store.closures import RecordKey
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.store_folders import StoreFolders


@dataclass(frozen=True, slots=True)
class Broken:
    """A path that is at `place` nothing of what `closures`, the records that name it, promise; `why` says how it
    differs.

    Of one path there may be several NARs that a trusted key signed, as two caches have them of a build that is not
    reproducible: which of them is here, is whose closure came first, and any of them is whole.
    """

    place: Path
    promised: tuple[ClosurePath, ...]
    closures: tuple[RecordKey, ...]
    why: str

    @property
    def path(self) -> ClosurePath:
        return self.promised[0]


@dataclass(frozen=True, slots=True)
class Verified:
    """`paths` were compared, each in every folder where it lies, `size` bytes of NARs."""

    paths: int
    size: int
    broken: tuple[Broken, ...]


def verify(store: NodeStore, *, compared: Callable[[int, int], None] = lambda done, total: None) -> Verified:
    """Of every closure that is recorded. `compared` hears of the bytes that are done, of all. Blocks for long."""
    promised = _promised(store)
    total, done = sum(paths[0].nar_size for paths, _ in promised.values()), 0
    broken: list[Broken] = []
    with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="verify") as hashing:
        whys = hashing.map(lambda each: _difference(each[0], each[1][0]), promised.items())
        for (place, (paths, closures)), why in zip(promised.items(), whys, strict=True):
            done += paths[0].nar_size
            compared(done, total)
            still = tuple(key for key in closures if store.closures.stamp(key) is not None)
            if why is not None and still:  # else it was taken away meanwhile
                broken.append(Broken(place, tuple(paths), still, why))
    return Verified(len(promised), total, tuple(broken))


def _promised(store: NodeStore) -> dict[Path, tuple[list[ClosurePath], list[RecordKey]]]:
    """By the place where each lies, or where it has to."""
    promised: dict[Path, tuple[list[ClosurePath], list[RecordKey]]] = {}
    linked = _linked(store)
    for key in sorted(store.closures.recorded(), key=str):
        record = store.closures.read(key)
        folders_of_it = linked.get(key) or [_brought_to(store, key)]
        for path in () if record is None else record.document.paths:
            places = {
                place
                for folders in folders_of_it
                for place in folders.places_of(path.store_path) or (folders.path_of(path.store_path),)
            }
            for place in sorted(places):
                paths, closures = promised.setdefault(place, ([], []))
                closures.append(key)
                if path.nar_hash not in (known.nar_hash for known in paths):
                    paths.append(path)
    return promised


def _linked(store: NodeStore) -> Mapping[RecordKey, list[StoreFolders]]:
    """In which folders there are environments of a closure: there all of its paths have to be."""
    found: dict[RecordKey, list[StoreFolders]] = {}
    every = store.all_folders()
    for path, linked in store.linked.read().items():
        found.setdefault(linked.closure, []).extend(
            folders for folders in every if os.path.lexists(folders.own / path.base_name)
        )
    return found


def _brought_to(store: NodeStore, key: RecordKey) -> StoreFolders:
    """For a closure of which nothing is linked: the folders of the environment that it came for."""
    origin = store.closures.origin(key)
    folders = store.public if origin is None else store.private_of(origin.environment)
    return folders if folders.own.exists() else store.public


def _difference(place: Path, paths: Sequence[ClosurePath]) -> str | None:
    digest, size = hashlib.sha256(), 0
    try:
        for piece in dump(place):
            digest.update(piece)
            size += len(piece)
    except FileNotFoundError:
        return "is missing" if not os.path.lexists(place) else "changed while it was read"
    except (OSError, NarInvalid) as problem:
        return f"cannot be read: {problem}"
    if any(size == path.nar_size and digest.hexdigest() == path.nar_hash.hex for path in paths):
        return None
    promised = " or ".join(f"{path.nar_size} of {path.nar_hash}" for path in paths)
    return f"has {size} bytes of sha256:{digest.hexdigest()}, promised were {promised}"

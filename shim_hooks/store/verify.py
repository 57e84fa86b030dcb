"""Whether the store still has the bytes that were promised: every path is hashed anew.

Belongs here: comparing. Does not: mending (`environment/repair.py`). Linked environments have no promised hash; they
are made of links to what is compared here.
"""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flox_formats.closure import ClosurePath
from flox_formats.nar import dump
from flox_formats.nar_reader import NarInvalid
from flox_formats.store_path import StorePath
from shim_hooks.store.closures import RecordKey
from shim_hooks.store.node_store import NodeStore


@dataclass(frozen=True, slots=True)
class Broken:
    """A path that is not what `closures`, the records that name it, promise; `why` says how it differs."""

    path: ClosurePath
    closures: tuple[RecordKey, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Verified:
    """`paths` were compared, `size` bytes of NARs."""

    paths: int
    size: int
    broken: tuple[Broken, ...]


def verify(store: NodeStore, *, compared: Callable[[int, int], None] = lambda done, total: None) -> Verified:
    """Of every closure that is recorded. `compared` hears of the bytes that are done, of all. Blocks for long."""
    promised = _promised(store)
    total, done = sum(path.nar_size for path, _ in promised.values()), 0
    broken: list[Broken] = []
    with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="verify") as hashing:
        whys = hashing.map(lambda each: _difference(store, each[0]), promised.values())
        for (path, closures), why in zip(promised.values(), whys, strict=True):
            done += path.nar_size
            compared(done, total)
            still = tuple(key for key in closures if store.closures.stamp(key) is not None)
            if why is not None and still:  # else it was taken away meanwhile
                broken.append(Broken(path, still, why))
    return Verified(len(promised), total, tuple(broken))


def _promised(store: NodeStore) -> dict[StorePath, tuple[ClosurePath, list[RecordKey]]]:
    promised: dict[StorePath, tuple[ClosurePath, list[RecordKey]]] = {}
    for key in sorted(store.closures.recorded(), key=str):
        record = store.closures.read(key)
        for path in () if record is None else record.document.paths:
            promised.setdefault(path.store_path, (path, []))[1].append(key)
    return promised


def _difference(store: NodeStore, path: ClosurePath) -> str | None:
    digest, size = hashlib.sha256(), 0
    try:
        for piece in dump(store.path_of(path.store_path)):
            digest.update(piece)
            size += len(piece)
    except FileNotFoundError:
        return "is missing" if not store.has(path.store_path) else "changed while it was read"
    except (OSError, NarInvalid) as problem:
        return f"cannot be read: {problem}"
    if size == path.nar_size and digest.hexdigest() == path.nar_hash.hex:
        return None
    return f"has {size} bytes of sha256:{digest.hexdigest()}, promised were {path.nar_size} of {path.nar_hash}"

"""Whether the store still has the bytes that were promised: every path is hashed anew.

Belongs here: comparing. Does not: mending (`environment/repair.py`). Linked environments have no promised hash; they
are made of links to what is compared here.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
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
    """A path that is nothing of what `closures`, the records that name it, promise; `why` says how it differs.

    Of one path there may be several NARs that a trusted key signed, as two caches have them of a build that is not
    reproducible: which of them is here, is whose closure came first, and any of them is whole.
    """

    promised: tuple[ClosurePath, ...]
    closures: tuple[RecordKey, ...]
    why: str

    @property
    def path(self) -> ClosurePath:
        return self.promised[0]


@dataclass(frozen=True, slots=True)
class Verified:
    """`paths` were compared, `size` bytes of NARs."""

    paths: int
    size: int
    broken: tuple[Broken, ...]


def verify(store: NodeStore, *, compared: Callable[[int, int], None] = lambda done, total: None) -> Verified:
    """Of every closure that is recorded. `compared` hears of the bytes that are done, of all. Blocks for long."""
    promised = _promised(store)
    total, done = sum(paths[0].nar_size for paths, _ in promised.values()), 0
    broken: list[Broken] = []
    with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="verify") as hashing:
        whys = hashing.map(lambda each: _difference(store, each[0]), promised.values())
        for (paths, closures), why in zip(promised.values(), whys, strict=True):
            done += paths[0].nar_size
            compared(done, total)
            still = tuple(key for key in closures if store.closures.stamp(key) is not None)
            if why is not None and still:  # else it was taken away meanwhile
                broken.append(Broken(tuple(paths), still, why))
    return Verified(len(promised), total, tuple(broken))


def _promised(store: NodeStore) -> dict[StorePath, tuple[list[ClosurePath], list[RecordKey]]]:
    promised: dict[StorePath, tuple[list[ClosurePath], list[RecordKey]]] = {}
    for key in sorted(store.closures.recorded(), key=str):
        record = store.closures.read(key)
        for path in () if record is None else record.document.paths:
            paths, closures = promised.setdefault(path.store_path, ([], []))
            closures.append(key)
            if path.nar_hash not in (known.nar_hash for known in paths):
                paths.append(path)
    return promised


def _difference(store: NodeStore, paths: Sequence[ClosurePath]) -> str | None:
    digest, size, store_path = hashlib.sha256(), 0, paths[0].store_path
    try:
        for piece in dump(store.path_of(store_path)):
            digest.update(piece)
            size += len(piece)
    except FileNotFoundError:
        return "is missing" if not store.has(store_path) else "changed while it was read"
    except (OSError, NarInvalid) as problem:
        return f"cannot be read: {problem}"
    if any(size == path.nar_size and digest.hexdigest() == path.nar_hash.hex for path in paths):
        return None
    promised = " or ".join(f"{path.nar_size} of {path.nar_hash}" for path in paths)
    return f"has {size} bytes of sha256:{digest.hexdigest()}, promised were {promised}"

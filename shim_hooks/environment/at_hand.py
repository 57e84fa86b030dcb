"""Environments that were brought here before: a container that wants one of them needs no task, no fetch and no pin.

Belongs here: remembering them, and telling in a moment that all of one is still here. Does not: who may use one
(`access.py`), and how one comes here (`realise.py`).
"""

import time
from dataclasses import dataclass

from shim_hooks.environment.realised import Realised
from shim_hooks.store.closures import RecordKey
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.remembered import Remembered

_MAX_BYTES = 16 * 1024 * 1024
_PATH_BYTES, _VARIABLE_BYTES = 300, 200
"""What a store path, and a variable beside its text, take in memory: an environment of 500 paths takes 150 kB."""

_SETTLED_S = 2.0
"""A folder that was changed longer ago than this has another time after the next change, however coarse its clock."""


@dataclass(slots=True)
class _Remembered:
    """`looked_at_ns` is when its folders had last changed as all of it was found there; None when nobody knows."""

    realised: Realised
    record: RecordKey
    looked_at_ns: tuple[int, ...] | None = None


class AtHand:
    """Those used last, from any thread. Its methods block."""

    def __init__(self, store: NodeStore) -> None:
        self._store = store
        self._remembered = Remembered[object, _Remembered](_MAX_BYTES)

    def remember(self, key: object, realised: Realised, record: RecordKey) -> None:
        if self._remembered.find(key) is None:
            self._remembered.keep(key, _Remembered(realised, record), _size(realised))

    def find(self, key: object) -> Realised | None:
        """What was here once. Take a lease, then ask `is_here`: before the lease an answer would say nothing."""
        found = self._remembered.find(key)
        return None if found is None else found.realised

    def is_here(self, key: object) -> bool:
        """Whether all of it is still in the store. Its use is noted, since it is about to be used. Raises StoreFailed.

        Nothing was taken away from a store that was not changed: then the paths, hundreds often, are not looked at.
        """
        found = self._remembered.find(key)
        if found is None:
            return False
        folders = found.realised.folders
        changed_ns, long_ago_ns = folders.changed_ns(), time.time_ns() - int(_SETTLED_S * 1e9)
        settled = changed_ns is not None and all(0 < each < long_ago_ns for each in changed_ns)
        if not settled or found.looked_at_ns != changed_ns:
            if changed_ns is None or folders.narrowed(found.realised.paths) != folders:
                self._remembered.drop(key)
                return False
            found.looked_at_ns = changed_ns if settled else None
        if not self._store.closures.touch(found.record):
            self._remembered.drop(key)
            return False
        return True


def _size(realised: Realised) -> int:
    variables = realised.lockfile.vars.items()
    return len(realised.paths) * _PATH_BYTES + sum(_VARIABLE_BYTES + len(name) + len(text) for name, text in variables)

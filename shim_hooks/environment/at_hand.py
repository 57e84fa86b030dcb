"""Environments that were brought here before: a container that wants one of them needs no task, no fetch and no pin.

Belongs here: remembering them, and telling in a moment that all of one is still here. Does not: who may use one
(`access.py`), and how one comes here (`realise.py`).
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from shim_hooks.environment.realised import Realised
from shim_hooks.store.closures import ClosureRecord
from shim_hooks.store.node_store import NodeStore

_MAX_REMEMBERED = 64
_SETTLED_S = 2.0
"""A folder that was changed longer ago than this has another time after the next change, however coarse its clock."""


@dataclass(slots=True)
class _Remembered:
    """`looked_at_ns` is when the store had last changed as all of it was found there; None when that is not known."""

    realised: Realised
    record: ClosureRecord
    looked_at_ns: int | None = None


class AtHand:
    """The last few, from any thread. Its methods block."""

    def __init__(self, store: NodeStore) -> None:
        self._store = store
        self._remembered: OrderedDict[object, _Remembered] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, key: object, realised: Realised, record: ClosureRecord) -> None:
        with self._lock:
            if key not in self._remembered:
                self._remembered[key] = _Remembered(realised, record)
            self._remembered.move_to_end(key)
            if len(self._remembered) > _MAX_REMEMBERED:
                self._remembered.popitem(last=False)

    def find(self, key: object) -> Realised | None:
        """What was here once. Take a lease, then ask `is_here`: before the lease an answer would say nothing."""
        with self._lock:
            found = self._remembered.get(key)
            if found is None:
                return None
            self._remembered.move_to_end(key)
            return found.realised

    def is_here(self, key: object) -> bool:
        """Whether all of it is still in the store. Its use is noted, since it is about to be used. Raises StoreFailed.

        Nothing was taken away from a store that was not changed: then the paths, hundreds often, are not looked at.
        """
        with self._lock:
            found = self._remembered.get(key)
        if found is None:
            return False
        changed_ns = self._store.changed_ns()
        settled = 0 < changed_ns < time.time_ns() - int(_SETTLED_S * 1e9)
        if not settled or found.looked_at_ns != changed_ns:
            if self._store.missing(found.realised.paths):
                self._forget(key)
                return False
            found.looked_at_ns = changed_ns if settled else None
        self._store.closures.use(found.record)
        return True

    def _forget(self, key: object) -> None:
        with self._lock:
            self._remembered.pop(key, None)

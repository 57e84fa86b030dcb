"""What was used lately, kept in memory up to a bound in bytes: whoever pushes a large environment fills no more of it.

Belongs here: the order and the bound. Does not: how large something is, which its owner tells.
"""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """From any thread. What is larger than `max_bytes` by itself is not kept at all."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: K) -> V | None:
        """It is used by that."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: K, value: V, size: int) -> None:
        """`size` is about how many bytes of memory `value` takes. What was used least recently makes room."""
        with self._lock:
            self._drop(key)
            if size > self._max_bytes:
                return
            self._kept[key] = value, size
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def drop(self, key: K) -> None:
        with self._lock:
            self._drop(key)

    def _drop(self, key: K) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self._bytes -= size

"""How far a fetch is: the numbers, and how a person reads them.

Belongs here: amounts, the rate, the words. Does not: what is fetched (`closure_fetch.py`), and who is shown it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from flox_formats.environment import EnvironmentName

_WINDOW_S = 10.0
_SLOTS = 40
_UNITS = (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000))


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes came off the network, compressed; `paths_done` of `paths` store paths are in the store.

    Only what was missing counts. `rate` is a `Meter`'s, in bytes a second.
    """

    done: int
    total: int
    paths_done: int
    paths: int
    rate: float | None

    @property
    def percent(self) -> int:
        """100 only when every byte is here."""
        return self.done * 100 // self.total if self.total else 100

    @property
    def amounts(self) -> str:
        for unit, size in _UNITS:
            if self.total >= size:
                return f"{self.done / size:.1f} of {self.total / size:.1f} {unit}"
        return f"{self.done} of {self.total} bytes"

    @property
    def shown_rate(self) -> str | None:
        return None if self.rate is None else _per_second(self.rate)

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"{self.percent} %", self.amounts, self.shown_rate)))


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An environment that is being brought. `progress` is None until the registry has said what belongs to it."""

    environment: EnvironmentName
    progress: Progress | None

    def __str__(self) -> str:
        return in_words(self.progress)


class Meter:
    """How many bytes a second came lately.

    A sliding window: the mean of the last 10 s, or of the time since the meter was made, if that is shorter. Who waits
    wants to know whether it goes on, and a mean over everything hides for minutes that it does not. `clock` counts
    seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._slots = deque[tuple[float, int]](maxlen=_SLOTS + 1)  # no more of them fit into the window
        """When the first bytes of each came, and how many did within a fraction of the window from then on."""

    def add(self, size: int) -> None:
        now = self._clock()
        if self._slots and now - self._slots[-1][0] < _WINDOW_S / _SLOTS:
            since, before = self._slots.pop()
            self._slots.append((since, before + size))
        else:
            self._slots.append((now, size))

    @property
    def rate(self) -> float | None:
        """None at the very beginning, when no time has passed."""
        now = self._clock()
        elapsed = now - self._began
        if elapsed <= 0:
            return None
        if elapsed <= _WINDOW_S:
            return sum(size for _, size in self._slots) / elapsed
        return sum(size for since, size in self._slots if since > now - _WINDOW_S) / _WINDOW_S


def in_words(progress: Progress | None) -> str:
    """None is before the registry has said what belongs to the closure."""
    return "the registry is collecting its closure" if progress is None else str(progress)


def _per_second(rate: float) -> str:
    for unit, size in _UNITS:
        if rate >= size:
            return f"{rate / size:.{0 if rate >= 10 * size else 1}f} {unit}/s"
    return f"{rate:.0f} bytes/s"

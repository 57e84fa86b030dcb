"""A figure: what was measured of us, what of the peer in the same run, and the bound of design section 10.

Belongs here: the arithmetic of bounds. How a figure looks on paper is in `report.py`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """In what `ours` and `peer` are counted. The value is what JSON says."""

    PER_SECOND = "per_s"
    BYTES_PER_SECOND = "bytes_per_s"
    SECONDS = "s"
    BYTES = "bytes"
    COUNT = "count"

    @property
    def is_rate(self) -> bool:
        """Of a rate more is better, of anything else less."""
        return self in (Unit.PER_SECOND, Unit.BYTES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class TimesThePeer:
    """We are at least so many times as fast."""

    at_least: float


@dataclass(frozen=True, slots=True)
class OverThePeer:
    """We take at most so much more than the peer, in the figure's unit."""

    at_most: float


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much, whatever the peer does."""

    at_most: float


Bound = TimesThePeer | OverThePeer | Limit


@dataclass(frozen=True, slots=True)
class Figure:
    """`peer` is None where nobody else does the same, `bound` where the design sets none."""

    what: str
    unit: Unit
    ours: float
    peer: float | None = None
    bound: Bound | None = None

    @property
    def times(self) -> float | None:
        """How many times as fast as the peer, or as small."""
        if not self.peer or not self.ours:
            return None
        return self.ours / self.peer if self.unit.is_rate else self.peer / self.ours

    @property
    def over(self) -> float | None:
        return None if self.peer is None else self.ours - self.peer

    @property
    def met(self) -> bool | None:
        """None where there is no bound, or nothing to hold it against."""
        match self.bound:
            case TimesThePeer(at_least):
                return None if self.times is None else self.times >= at_least
            case OverThePeer(at_most):
                return None if self.over is None else self.over <= at_most
            case Limit(at_most):
                return self.ours <= at_most
            case None:
                return None

"""Rounds: two sides measured in turn, A, B, A, B, so that what else the machine does falls on both alike."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

T = TypeVar("T")


def in_turn(rounds: int, *sides: Callable[[], T], warm_up: int = 1) -> list[list[T]]:
    """What each side gave, `rounds` times. The `warm_up` rounds before are thrown away."""
    for _ in range(warm_up):
        for side in sides:
            side()
    measured: list[list[T]] = [[] for _ in sides]
    for _ in range(rounds):
        for results, side in zip(measured, sides, strict=True):
            results.append(side())
    return measured


def median_of(results: Sequence[T], value: Callable[[T], float]) -> float:
    return median(map(value, results))


def scaled(count: int, scale: float, *, at_least: int = 1) -> int:
    """How often, when `--scale` asks for more or less than usual."""
    return max(at_least, round(count * scale))

"""How figures look: a table for people, a document for programs.

Belongs here: words, units and columns. Nothing is measured or decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figure import Bound, Figure, Limit, OverThePeer, TimesThePeer, Unit

_MADE_OF_BYTES = (Unit.BYTES, Unit.BYTES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one benchmark: figures, or why there are none."""

    name: str
    title: str
    figures: Sequence[Figure]
    left_out: str | None = None


def heading(machine: Mapping[str, str], versions: Mapping[str, str]) -> str:
    return "\n".join(_pairs(each) for each in (machine, versions))


def table(outcome: Outcome) -> str:
    """The benchmark's name and title, and a line for each figure."""
    lines = [f"{outcome.name}: {outcome.title}"]
    if outcome.left_out is not None:
        lines.append(f"  left out: {outcome.left_out}")
    rows = [_row(figure) for figure in outcome.figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)


def document(machine: Mapping[str, str], versions: Mapping[str, str], outcomes: Sequence[Outcome]) -> dict[str, object]:
    """JSON's: numbers in the unit that stands beside them."""
    benchmarks = [
        {
            "name": outcome.name,
            "left_out": outcome.left_out,
            "figures": [
                {
                    "what": figure.what,
                    "unit": figure.unit.value,
                    "ours": figure.ours,
                    "peer": figure.peer,
                    "times": figure.times,
                    "bound": None if figure.bound is None else bound_words(figure.bound, figure.unit),
                    "met": figure.met,
                }
                for figure in outcome.figures
            ],
        }
        for outcome in outcomes
    ]
    return {"machine": dict(machine), "versions": dict(versions), "benchmarks": benchmarks}


def amount(value: float, unit: Unit) -> str:
    """Three significant digits, in what a person would say it."""
    if unit is Unit.SECONDS:
        return f"{_three(value)} s" if abs(value) >= 1 else f"{_three(value * 1000)} ms"
    if unit in _MADE_OF_BYTES:
        return f"{_three(value / 1e6)} MB{'/s' if unit.is_rate else ''}"
    return f"{_three(value)}{' /s' if unit.is_rate else ''}"


def bound_words(bound: Bound, unit: Unit) -> str:
    match bound:
        case TimesThePeer(at_least):
            return f"≥ {at_least:g} ×"
        case OverThePeer(at_most):
            return f"≤ {amount(at_most, unit)} over"
        case Limit(at_most):
            return f"≤ {amount(at_most, unit)}"


def _row(figure: Figure) -> tuple[str, ...]:
    peer = "" if figure.peer is None else f"peer {amount(figure.peer, figure.unit)}"
    verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
    bound = "" if figure.bound is None else f"bound {bound_words(figure.bound, figure.unit)}"
    return (figure.what, f"ours {amount(figure.ours, figure.unit)}", peer, _compared(figure), bound, verdict)


def _compared(figure: Figure) -> str:
    if isinstance(figure.bound, OverThePeer) and figure.over is not None:
        return f"{'+' if figure.over >= 0 else ''}{amount(figure.over, figure.unit)}"
    return "" if figure.times is None else f"{_three(figure.times)} ×"


def _three(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _pairs(of: Mapping[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in of.items())

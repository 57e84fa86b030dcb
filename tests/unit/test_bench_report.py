"""How figures are printed."""

import json

import pytest

from bench.figure import Bound, Figure, Limit, OverThePeer, TimesThePeer, Unit
from bench.report import Outcome, amount, bound_words, document, table


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        pytest.param(0.00476, Unit.SECONDS, "4.76 ms", id="milliseconds"),
        pytest.param(12.34, Unit.SECONDS, "12.3 s", id="seconds"),
        pytest.param(-0.0005, Unit.SECONDS, "-0.50 ms", id="less-than-the-peer"),
        pytest.param(12672.4, Unit.PER_SECOND, "12,672 /s", id="requests"),
        pytest.param(182_345_678, Unit.BYTES, "182 MB", id="bytes"),
        pytest.param(2_223_000_000, Unit.BYTES_PER_SECOND, "2,223 MB/s", id="bytes-per-second"),
    ],
)
def test_amounts(value: float, unit: Unit, text: str) -> None:
    assert amount(value, unit) == text


@pytest.mark.parametrize(
    ("bound", "unit", "text"),
    [
        pytest.param(TimesThePeer(1.5), Unit.SECONDS, "≥ 1.5 ×", id="times"),
        pytest.param(OverThePeer(0.001), Unit.SECONDS, "≤ 1.00 ms over", id="over"),
        pytest.param(Limit(150_000_000), Unit.BYTES, "≤ 150 MB", id="limit"),
    ],
)
def test_bounds(bound: Bound, unit: Unit, text: str) -> None:
    assert bound_words(bound, unit) == text


FIGURES = (
    Figure("one stream", Unit.BYTES_PER_SECOND, 2e9, 1e9, TimesThePeer(1)),
    Figure("create", Unit.SECONDS, 0.020, 0.010, OverThePeer(0.005)),
    Figure("resident", Unit.BYTES, 57e6),
)


def test_a_table_has_a_line_for_each_figure() -> None:
    assert table(Outcome("blob", "we against them", FIGURES)).splitlines() == [
        "blob: we against them",
        "  one stream  ours 2,000 MB/s  peer 1,000 MB/s  2.00 ×    bound ≥ 1 ×           met",
        "  create      ours 20.0 ms     peer 10.0 ms     +10.0 ms  bound ≤ 5.00 ms over  MISSED",
        "  resident    ours 57.0 MB",
    ]


def test_a_benchmark_that_was_left_out_says_why() -> None:
    assert table(Outcome("blob", "we against them", (), "not installed: wrk")).splitlines() == [
        "blob: we against them",
        "  left out: not installed: wrk",
    ]


def test_the_document_is_json() -> None:
    told = document({"kernel": "6.1"}, {"wrk": "4.1"}, [Outcome("blob", "", FIGURES[:1]), Outcome("x", "", (), "why")])
    assert json.loads(json.dumps(told)) == {
        "machine": {"kernel": "6.1"},
        "versions": {"wrk": "4.1"},
        "benchmarks": [
            {
                "name": "blob",
                "left_out": None,
                "figures": [
                    {
                        "what": "one stream",
                        "unit": "bytes_per_s",
                        "ours": 2e9,
                        "peer": 1e9,
                        "times": 2.0,
                        "bound": "≥ 1 ×",
                        "met": True,
                    }
                ],
            },
            {"name": "x", "left_out": "why", "figures": []},
        ],
    }

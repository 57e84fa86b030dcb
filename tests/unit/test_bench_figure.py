"""What a bound says of a figure."""

import pytest

from bench.figure import Bound, Figure, Limit, OverThePeer, TimesThePeer, Unit


@pytest.mark.parametrize(
    ("unit", "ours", "peer", "bound", "times", "met"),
    [
        pytest.param(Unit.PER_SECOND, 50, 5, TimesThePeer(10), 10, True, id="rate-ten-times"),
        pytest.param(Unit.PER_SECOND, 49, 5, TimesThePeer(10), 9.8, False, id="rate-almost"),
        pytest.param(Unit.SECONDS, 2, 3, TimesThePeer(1.5), 1.5, True, id="time-is-better-when-less"),
        pytest.param(Unit.SECONDS, 3, 2, TimesThePeer(1), 2 / 3, False, id="time-slower"),
        pytest.param(Unit.SECONDS, 0.006, 0.005, OverThePeer(0.002), 5 / 6, True, id="a-little-over"),
        pytest.param(Unit.SECONDS, 0.004, 0.005, OverThePeer(0), 1.25, True, id="under-the-peer"),
        pytest.param(Unit.SECONDS, 0.009, 0.005, OverThePeer(0.002), 5 / 9, False, id="too-much-over"),
        pytest.param(Unit.BYTES, 150, None, Limit(150), None, True, id="at-the-limit"),
        pytest.param(Unit.BYTES, 151, 300, Limit(150), 300 / 151, False, id="over-the-limit-whatever-the-peer"),
        pytest.param(Unit.BYTES, 1, 2, None, 2, None, id="no-bound"),
        pytest.param(Unit.SECONDS, 1, None, TimesThePeer(2), None, None, id="no-peer-to-compare-with"),
        pytest.param(Unit.SECONDS, 1, None, OverThePeer(2), None, None, id="no-peer-to-be-over"),
        pytest.param(Unit.PER_SECOND, 0, 5, TimesThePeer(1), None, None, id="nothing-measured"),
    ],
)
def test_bounds(
    unit: Unit, ours: float, peer: float | None, bound: Bound | None, times: float | None, met: bool | None
) -> None:
    figure = Figure("it", unit, ours, peer, bound)
    assert (figure.times, figure.met) == (times if times is None else pytest.approx(times), met)

"""What ends is told daily, from when it is due, whatever becomes of the clock."""

import pytest

from registry_proxy.reminder import Reminder

DAY_S = 24 * 3600
ENDS_AT = 1772438400  # 2026-03-02 08:00 UTC
DUE_AT = ENDS_AT - 7 * DAY_S


def told_at(*days: float) -> list[tuple[float, str]]:
    """What was told on which day, counted from when it was due, by somebody who looks on each of `days`."""
    said, now = list[tuple[float, str]](), [0.0]
    reminder = Reminder("X", "renew it", lambda sentence: said.append((now[0], sentence)), calendar=lambda: calendar())

    def calendar() -> float:
        return DUE_AT + now[0] * DAY_S

    for now[0] in days:
        reminder.look(DUE_AT, ENDS_AT)
    return said


@pytest.mark.parametrize(
    ("days", "told"),
    [
        pytest.param((-1, -0.01), [], id="not-due"),
        pytest.param((0, 0.5, 0.9), [0], id="once"),
        pytest.param((0, 0.9, 1, 1.5, 2.1), [0, 1, 2.1], id="daily"),
        pytest.param((6, 5, 5.5, 6.2), [6, 5, 6.2], id="clock-set-back"),
        pytest.param((6, -1, 0.5), [6, 0.5], id="clock-set-back-before-it-was-due"),
    ],
)
def test_when_it_is_told(days: tuple[float, ...], told: list[float]) -> None:
    assert [day for day, _ in told_at(*days)] == told


def test_how_it_is_told() -> None:
    assert [sentence for _, sentence in told_at(6, 7)] == [
        "X expires at 2026-03-02 08:00 UTC: renew it",
        "X expired at 2026-03-02 08:00 UTC: renew it",
    ]

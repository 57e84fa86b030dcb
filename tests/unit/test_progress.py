"""How far a fetch is, in words, and how fast it is by a clock that the test sets."""

import pytest

from flox_formats.environment import EnvironmentName
from shim_hooks.environment.progress import Meter, Progress, UnderWay
from shim_hooks.errors import StillFetching

WEB = EnvironmentName.parse("acme/web")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("done", "total", "rate", "words"),
    [
        pytest.param(
            1_247_000_000, 2_900_000_000, 61_300_000.0, "43 %, 1.2 of 2.9 GB, 61 MB/s", id="as-the-issue-has-it"
        ),
        pytest.param(2_899_999_999, 2_900_000_000, 9_940_000.0, "99 %, 2.9 of 2.9 GB, 9.9 MB/s", id="nearly"),
        pytest.param(5, 5, 5.0, "100 %, 5 of 5 bytes, 5 bytes/s", id="all"),
        pytest.param(0, 1500, 0.0, "0 %, 0.0 of 1.5 kB, 0 bytes/s", id="nothing-comes"),
        pytest.param(0, 20_000_000, None, "0 %, 0.0 of 20.0 MB", id="no-rate-yet"),
        pytest.param(0, 0, None, "100 %, 0 of 0 bytes", id="nothing-was-missing"),
        pytest.param(1, 3, 1_000_000_000.0, "33 %, 1 of 3 bytes, 1.0 GB/s", id="fast"),
    ],
)
def test_words(done: int, total: int, rate: float | None, words: str) -> None:
    progress = Progress(done, total, paths_done=0, paths=1, rate=rate)
    assert str(progress) == str(UnderWay(WEB, progress)) == words


def test_before_the_closure_is_known() -> None:
    assert str(UnderWay(WEB, None)) == "the registry is collecting its closure"


def test_the_sentence_of_a_container_that_waited_in_vain() -> None:
    progress = Progress(1_247_000_000, 2_900_000_000, paths_done=3, paths=9, rate=61_300_000.0)
    assert str(StillFetching("environment acme/web", f"still fetching: {progress}")) == (
        "environment acme/web: still fetching: 43 %, 1.2 of 2.9 GB, 61 MB/s. "
        "It goes on; kubelet's retry will find it further on"
    )


def test_no_rate_before_time_has_passed() -> None:
    meter = Meter(Clock())
    meter.add(100)
    assert meter.rate is None


def test_at_first_the_rate_is_since_the_beginning() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now += 1
    meter.add(100)
    clock.now += 3
    meter.add(100)
    assert meter.rate == 50


def test_then_it_is_that_of_the_last_ten_seconds() -> None:
    clock = Clock()
    meter = Meter(clock)
    for _ in range(60):
        clock.now += 1
        meter.add(1000)
    for _ in range(20):
        clock.now += 0.5
        meter.add(50)
    assert meter.rate == 100


def test_what_stands_still_is_said_to() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.add(1_000_000)
    clock.now += 10
    assert meter.rate == 100_000
    clock.now += 0.001
    assert meter.rate == 0


@pytest.mark.parametrize("pieces_per_s", [1, 10, 1000])
def test_a_steady_stream_has_its_rate_however_it_is_cut(pieces_per_s: int) -> None:
    clock = Clock()
    meter = Meter(clock)
    for _ in range(30 * pieces_per_s):
        clock.now += 1 / pieces_per_s
        meter.add(60_000_000 // pieces_per_s)
    assert meter.rate == pytest.approx(60_000_000, rel=0.11)

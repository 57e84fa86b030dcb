"""What the benchmarks read of what other programs say, and how they take turns."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.benchmark import BenchmarkFailed
from bench.load import Load
from bench.memory_use import status_bytes
from bench.rounds import in_turn, median_of, scaled
from bench.versions import busy_share, version_in


def test_load_is_read_from_the_last_line() -> None:
    told = 'Running 2s test @ http://x\n{"requests": 3000, "duration_us": 2000000, "p99_us": 4500, "failed": 0}\n'
    assert Load.parse(told) == Load(requests=3000, per_s=1500, p99_s=0.0045)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        pytest.param("", "wrk did not report: ''", id="nothing"),
        pytest.param("Requests/sec: 12", "wrk did not report", id="no-json"),
        pytest.param('{"requests": 3, "p99_us": 1, "failed": 0}', "wrk did not report", id="half"),
        pytest.param(
            '{"requests": 3, "duration_us": 0, "p99_us": 1, "failed": 0}', "wrk did not report", id="no-duration"
        ),
        pytest.param(
            '{"requests": 3, "duration_us": 9, "p99_us": 1, "failed": 2}', "2 of 3 requests failed", id="failed"
        ),
        pytest.param(
            '{"requests": 0, "duration_us": 9, "p99_us": 0, "failed": 0}', "0 of 0 requests failed", id="no-answer"
        ),
    ],
)
def test_load_that_is_none(told: str, words: str) -> None:
    with pytest.raises(BenchmarkFailed, match=re.escape(words)):
        Load.parse(told)


@given(told=st.text())
def test_any_text_is_a_load_or_refused(told: str) -> None:
    with contextlib.suppress(BenchmarkFailed):
        Load.parse(told)


@pytest.mark.parametrize(
    ("told", "version"),
    [
        pytest.param("docker-registry github.com/docker/distribution 2.8.2+ds1\n", "2.8.2+ds1", id="docker-registry"),
        pytest.param("runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\n", "1.1.5+ds1", id="runc"),
        pytest.param("nix (Nix) 2.8.0\n", "2.8.0", id="nix"),
        pytest.param("wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\n", "4.1.0-3+b2", id="wrk"),
        pytest.param("nginx version: nginx/1.22.1\n", "1.22.1", id="nginx"),
        pytest.param("Usage: thing [OPTION]\n", "unknown", id="none"),
    ],
)
def test_versions(told: str, version: str) -> None:
    assert version_in(told) == version


def test_memory_is_read_from_the_kernels_status() -> None:
    status = "Name:\tpython3\nVmHWM:\t  149300 kB\nVmRSS:\t   57300 kB\n"
    assert status_bytes(status, "VmHWM") == 149_300 * 1024
    with pytest.raises(KeyError):
        status_bytes(status, "VmSwap")


def test_sides_take_turns_and_warm_up() -> None:
    called = list[str]()

    def side(name: str) -> int:
        called.append(name)
        return len(called)

    assert in_turn(2, lambda: side("a"), lambda: side("b")) == [[3, 5], [4, 6]]
    assert called == ["a", "b"] * 3


def test_a_median_is_of_one_value_of_each_result() -> None:
    assert median_of(["one", "three", "seven!"], len) == 5


@pytest.mark.parametrize(
    ("scale", "count"),
    [
        pytest.param(1, 50, id="as-usual"),
        pytest.param(0.5, 25, id="half"),
        pytest.param(0.001, 3, id="not-less-than-the-least"),
    ],
)
def test_scale(scale: float, count: int) -> None:
    assert scaled(50, scale, at_least=3) == count


@pytest.mark.parametrize(
    ("after", "share"),
    [
        pytest.param("cpu  100 0 100 900 50 0 0 0 0 0\ncpu0 1 2", 0.0, id="no-time-passed"),
        pytest.param("cpu  100 0 100 1000 50 0 0 0 0 0\n", 0.0, id="idle"),
        pytest.param("cpu  150 0 110 920 70 0 0 0 0 0\n", 0.6, id="waiting-for-a-disk-is-not-busy"),
        pytest.param("cpu  150 0 130 900 50 10 5 5 0 0\n", 1.0, id="busy"),
    ],
)
def test_how_busy_the_machine_is(after: str, share: float) -> None:
    assert busy_share("cpu  100 0 100 900 50 0 0 0 0 0\ncpu0 1 2\n", after) == pytest.approx(share)

"""What the benchmarks read of what other programs say, and how they take turns."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.benchmark import BenchmarkFailed
from bench.cache_server import bytes_sent
from bench.downloads import Answer, Blob
from bench.fifty_nodes import times_sent
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


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([HEAD + b"12345"], id="in-one"),
        pytest.param([HEAD, b"12", b"345"], id="head-alone"),
        pytest.param([HEAD[:20], HEAD[20:] + b"1", b"2345"], id="head-in-two"),
        pytest.param([HEAD.replace(b"C", b"c").replace(b"L", b"l"), b"12345"], id="lower-case"),
    ],
)
def test_an_answer_is_whole_with_its_last_byte(pieces: list[bytes]) -> None:
    answer = Answer(Blob("/x", 5))
    for piece in pieces:
        assert not answer.whole
        answer.take(memoryview(piece))
    assert answer.whole


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        pytest.param([b""], "ended after b'' and -1 bytes", id="nothing"),
        pytest.param([HEAD, b"12", b""], "and 2 bytes", id="cut-off"),
        pytest.param([HEAD + b"123456"], "6 bytes came, not 5", id="too-much"),
        pytest.param([HEAD.replace(b"5", b"4")], "not 5 bytes", id="of-another-size"),
        pytest.param([HEAD.replace(b"Length", b"Type")], "not 5 bytes", id="no-size"),
        pytest.param([HEAD.replace(b"200 OK", b"404 No")], "404 No", id="not-there"),
        pytest.param([b"x" * 70_000], "xxx", id="endless-head"),
    ],
)
def test_an_answer_that_is_not_the_blob(pieces: list[bytes], words: str) -> None:
    answer = Answer(Blob("/x", 5))
    for piece in pieces[:-1]:
        answer.take(memoryview(piece))
    with pytest.raises(BenchmarkFailed, match=re.escape(words)):
        answer.take(memoryview(pieces[-1]))


def test_how_often_a_file_left_upstream(tmp_path: Path) -> None:
    (tmp_path / "nar").mkdir()
    for name in ("nar/once", "nar/cut and again", "nar/never"):
        (tmp_path / name).write_bytes(b"1234")
    sent = bytes_sent("4 /nar/once\n0 /nar/once\n2 /nar/cut and again\n4 /nar/cut and again\n153 /nar/missing\n")
    assert times_sent(sent, tmp_path) == {"nar/once": 1, "nar/cut and again": 1.5}


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

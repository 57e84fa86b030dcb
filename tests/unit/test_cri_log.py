from pathlib import Path

import pytest

from floxbridge_demo.cri import read_log

AT = "2026-11-22T14:58:00.123456789Z"


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param(f"{AT} stdout F hello\n", "hello\n", id="one-line"),
        pytest.param(f"{AT} stdout P hel\n{AT} stdout F lo\n", "hello\n", id="a-long-line-in-two-entries"),
        pytest.param(f"{AT} stdout F \n{AT} stderr F two  words\n", "\ntwo  words\n", id="empty-line-and-stderr"),
        pytest.param(f"{AT} stdout P no end\n", "no end", id="last-line-without-end"),
    ],
)
def test_reads_what_the_container_wrote(tmp_path: Path, entries: str, text: str) -> None:
    log = tmp_path / "one_0.log"
    log.write_text(entries)
    assert read_log(log) == text


@pytest.mark.parametrize(("stream", "text"), [("stdout", "one\n"), ("stderr", "two three\n")])
def test_one_stream_alone(tmp_path: Path, stream: str, text: str) -> None:
    log = tmp_path / "one_0.log"
    log.write_text(f"{AT} stderr P two \n{AT} stdout F one\n{AT} stderr F three\n")
    assert read_log(log, stream=stream) == text


def test_a_container_that_never_ran_wrote_nothing(tmp_path: Path) -> None:
    assert read_log(tmp_path / "none.log") == ""

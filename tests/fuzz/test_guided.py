"""Fuzzers that are led by what their inputs reach: AFL++ in the launcher, atheris (libFuzzer) in the reader of NARs.

They find what chance alone does not; what they are given to begin with is what the other fuzzers know.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import cannot_run, needs
from tests.fuzz.budget import seconds
from tests.fuzz.test_launcher import ANSWERS, LINES, WORDS
from tests.fuzz.test_nar import NAMES, TARGETS
from tests.unit.nar_trees import EXAMPLE, File, Link, Tree, nar, nested, string

HARNESS = Path(__file__).with_name("launcher_harness.c")
_SHORT_S = 6.0
_SPARE_S = 120  # beyond what a fuzzer was given, for its beginning and its end
AFL = {
    "AFL_NO_UI": "1",
    "AFL_NO_AFFINITY": "1",
    "AFL_SKIP_CPUFREQ": "1",
    "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",  # where the kernel gives core dumps to a program
    "AFL_BENCH_UNTIL_CRASH": "1",
    "AFL_QUIET": "1",
}
SEEDS = [
    (b"create\0--bundle\0B\0c1\0", b"runtime=/bin/true\n", b"ok\n"),
    (b"--root\0/r\0--log\0L\0--log-format\0json\0create\0-bB\0c1\0", b"# remark\n deadline_ms = 7\n", b"error no\n"),
    (b"exec\0--process\0P\0c1\0", b"socket=/s\n", b""),
    (b"delete\0--force\0c1\0", b"runtime=runc\n", b""),
]


TREES: list[Tree] = [EXAMPLE, File(b""), File(b"x", executable=True), Link(b"x"), {b"a": {b"b": {}}}]


@pytest.fixture
def harness(tmp_path: Path) -> Path:
    """The launcher as AFL++ runs it, with the compiler's sanitizers."""
    needs("afl-gcc", "afl-fuzz")
    output = tmp_path / "launcher"
    env = {**os.environ, "AFL_USE_ASAN": "1", "AFL_USE_UBSAN": "1", "AFL_QUIET": "1"}
    command = ["afl-gcc", "-std=c11", "-g", "-O1", "-o", str(output), str(HARNESS)]
    built = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return output


@pytest.mark.timeout(0)
def test_the_launcher(harness: Path, tmp_path: Path) -> None:
    seeds, found, words = tmp_path / "seeds", tmp_path / "found", tmp_path / "words"
    seeds.mkdir()
    for number, parts in enumerate(SEEDS):
        (seeds / str(number)).write_bytes(b"\1".join(parts))
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in (*WORDS, *LINES, *ANSWERS) if 0 < len(word) <= 128))
    budget = seconds(_SHORT_S)
    flags = ["-V", str(int(budget)), "-t", "5000", "-m", "none", "-x", str(words), "-i", str(seeds), "-o", str(found)]
    done = _run(["afl-fuzz", *flags, "--", str(harness)], budget, AFL)
    assert done.returncode == 0, done.stdout[-3000:]
    crashes = [it.read_bytes() for it in (found / "default" / "crashes").glob("id:*")]
    assert crashes == []
    said = dict(re.findall(r"(?m)^(\w+) +: (.*)$", (found / "default" / "fuzzer_stats").read_text()))
    print(f"{said['execs_done']} launchers, {said['edges_found']} edges, {said['corpus_count']} kinds of input")
    assert int(said["corpus_found"]) > 0, said


@pytest.mark.timeout(0)
def test_nars(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        cannot_run("atheris has no wheel for this Python or machine")
    corpus, words = tmp_path / "corpus", tmp_path / "words"
    corpus.mkdir()
    for number, tree in enumerate(TREES):
        (corpus / str(number)).write_bytes(nar(tree))
    (corpus / "deep").write_bytes(nested(20))
    keywords = (b"(", b")", b"type", b"entry", b"name", b"node", b"regular", b"executable", b"contents", b"symlink")
    tokens = [string(word) for word in (*keywords, b"directory", b"target", *NAMES, *TARGETS) if len(word) <= 64]
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in tokens))
    budget = seconds(_SHORT_S)
    flags = [f"-max_total_time={int(budget)}", f"-dict={words}", f"-artifact_prefix={tmp_path}/", "-max_len=4096"]
    command = [sys.executable, "-m", "tests.fuzz.guided_nar", *flags, str(corpus)]
    done = _run(command, budget, {"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout[-6000:]
    ran = re.search(r"Done ([0-9]+) runs", done.stdout)
    assert ran is not None
    assert int(ran[1]) > 0
    reached = re.findall(r"cov: ([0-9]+) ft: ([0-9]+) corp: ([0-9]+)", done.stdout)
    print(f"{ran[1]} NARs, {reached[-1][0]} places, {reached[-1][2]} kinds of input")
    assert int(reached[-1][1]) > int(reached[0][1])


def _run(command: list[str], budget: float, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ASAN_", "UBSAN_"))}
    return subprocess.run(
        command,
        cwd=HARNESS.parents[2],
        env={**inherited, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=budget + _SPARE_S,
        check=False,
    )


def _escaped(word: bytes) -> str:
    """As both fuzzers read a word of their dictionaries."""
    return "".join(f"\\x{byte:02x}" for byte in word)

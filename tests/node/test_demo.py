"""`floxbridge demo` as a person runs it: what it prints, and that nothing of it stays."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from floxbridge_demo.containerd import why_no_containers
from floxbridge_demo.installation import program_path
from floxbridge_demo.workplace import Workplace
from tests.conftest import cannot_run, needs
from tests.node.leftovers import leftovers

DEADLINE_S = 120


class Demo:
    """A demo that runs. Its output is read line by line, as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process, self._lines, self.output = process, process.stdout, ""
        self.workplace = Workplace(Path(self.read_until(r"all of it is in (\S+),")))

    def read_until(self, pattern: str) -> str:
        """Gives the group of the first line that has the pattern."""
        for line in self._lines:
            self.output += line
            found = re.search(pattern, line)
            if found is not None:
                return found.group(found.lastindex or 0)
        raise AssertionError(f"no {pattern!r} in\n{self.output}")

    def end(self) -> int:
        self.output += self._lines.read()
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


@contextmanager
def demo(folder: Path, *flags: str, before: tuple[str, ...] = ()) -> Iterator[Demo]:
    needs("git", "gcc", "busybox")
    command = [*before, program_path("floxbridge"), "demo", "--dir", str(folder), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        running = Demo(process)
        yield running
        running.end()


def with_containers() -> None:
    missing = why_no_containers()
    if missing is not None:
        cannot_run(missing)


def nothing_is_left(run: Demo) -> None:
    assert leftovers(run.workplace) == []
    assert not run.workplace.folder.parent.exists()
    assert not list(Path("/run/containerd").glob("**/*.sock.ttrpc"))


def test_the_whole_story(folder: Path) -> None:
    with_containers()
    with demo(folder) as run:
        assert run.end() == 0, run.output
    nothing_is_left(run)
    assert "\x1b" not in run.output
    for told in (
        'flox.dev/environment: "limeytexan/echoip"',
        "image: flox/empty:1.0.0",
        "image: flox/empty/limeytexan/echoip:live",
        "environment: limeytexan/echoip",
    ):
        assert told in run.output
    assert [it.split() for it in re.findall(r"commands: +(.*)", run.output)] == [
        ["echoip"],
        ["echoip"],
        ["echoip", "greeting"],
        ["echoip", "greeting"],
        ["echoip"],
    ]
    generations = dict(re.findall(r"(generation 1|generation 2|rolled back): +(sha256:[0-9a-f]{64})", run.output))
    assert generations["generation 1"] == generations["rolled back"] != generations["generation 2"]
    first, *later = [int(it.replace(",", "")) for it in re.findall(r"fetched: +([0-9,]+) bytes", run.output)]
    assert first > 500_000
    assert sum(later) < 10_000


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("FloxHub of our own", id="while-the-registry-starts"),
        pytest.param("floxbridge-node agent", id="while-containerd-starts"),
        pytest.param("pulled, created", id="while-a-pod-is-there"),
        pytest.param("pushed generation 2", id="while-it-waits"),
    ],
)
def test_ctrl_c_leaves_nothing(folder: Path, moment: str) -> None:
    with_containers()
    with demo(folder) as run:
        run.read_until(moment)
        run.process.send_signal(signal.SIGINT)
        assert run.end() == 128 + signal.SIGINT
    nothing_is_left(run)


def test_kept_until_it_is_ended(folder: Path) -> None:
    with_containers()
    with demo(folder, "--keep") as run:
        socket = run.read_until(r"ctr -a (\S+)")
        assert Path(socket).is_socket()
        run.process.terminate()
        assert run.end() == 128 + signal.SIGTERM
    nothing_is_left(run)


def test_the_next_run_sweeps_after_a_killed_one(folder: Path) -> None:
    with_containers()
    with demo(folder) as killed:
        killed.read_until("pulled, created")
        killed.process.kill()
    with demo(folder, "--no-container") as run:
        assert leftovers(killed.workplace) == []
        assert run.end() == 0
    nothing_is_left(run)


def test_two_at_once(folder: Path) -> None:
    with_containers()
    with demo(folder) as one, demo(folder) as other:
        assert one.end() == 0, one.output
        assert other.end() == 0, other.output
    nothing_is_left(one)
    nothing_is_left(other)


@pytest.mark.parametrize(
    ("flags", "before", "why"),
    [
        pytest.param(("--no-container",), (), "--no-container", id="asked-for"),
        pytest.param((), ("setpriv", "--bounding-set", "-sys_admin"), "CAP_SYS_ADMIN", id="root-that-may-not-mount"),
    ],
)
def test_without_containers_it_does_what_it_can(
    folder: Path, flags: tuple[str, ...], before: tuple[str, ...], why: str
) -> None:
    with demo(folder, *flags, before=before) as run:
        assert run.end() == 0, run.output
    nothing_is_left(run)
    assert re.search(rf"Left out: the containers\n.*{why}", run.output)
    assert len(set(re.findall(r"digest: +(sha256:[0-9a-f]{64})", run.output))) == 2
    first, second = [int(it.replace(",", "")) for it in re.findall(r"fetched: +([0-9,]+) bytes", run.output)]
    assert first > 500_000 > 10_000 > second


def test_says_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    long = tmp_path / ("a" * 100)
    command = [program_path("floxbridge"), "demo", "--dir", str(long)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "too long a path" in done.stderr

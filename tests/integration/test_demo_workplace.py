"""Workplaces with real processes and real locks. What containers leave is in tests/node/test_containerd.py."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from floxbridge_demo.program import Program, ProgramFailed
from floxbridge_demo.workplace import WorkplaceRefused, own_workplace

# Makes a workplace with a program in it, and tells both; then it waits to be killed.
ABANDONED = """
import sys, time
from pathlib import Path
from floxbridge_demo.program import Program
from floxbridge_demo.workplace import own_workplace
with own_workplace(Path(sys.argv[1])) as workplace:
    log = workplace.path("logs", "sleeper.log")
    sleeper = Program("sleeper", ["sleep", "600"], log=log, environment=workplace.environment)
    print(workplace.folder, sleeper.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def parent() -> Iterator[Path]:
    """Short, since sockets may lie below it."""
    with tempfile.TemporaryDirectory(prefix="fb-") as folder:
        yield Path(folder) / "parent"


def test_nothing_is_left(parent: Path) -> None:
    with own_workplace(parent) as workplace:
        read_only = workplace.path("store", "path")
        read_only.mkdir()
        (read_only / "file").write_text("text")
        read_only.chmod(0o555)
        log = workplace.path("sleeper.log")
        sleeper = Program("sleeper", ["sleep", "600"], log=log, environment=workplace.environment)
    assert not sleeper.running
    assert not parent.exists()


def test_a_folder_of_others_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    with own_workplace(tmp_path):
        pass
    assert [it.name for it in tmp_path.iterdir()] == ["mine"]


def test_a_killed_run_is_swept(parent: Path) -> None:
    command = [sys.executable, "-c", ABANDONED, str(parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder, pid = run.stdout.readline().split()
        with own_workplace(parent) as other:
            assert Path(folder).is_dir()
            assert Path(f"/proc/{pid}/environ").read_bytes()
            assert str(other.folder) != folder
        run.kill()
    assert Path(folder).is_dir()
    with own_workplace(parent):
        assert not Path(folder).exists()
        assert not _alive(int(pid))
    assert not parent.exists()


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_refuses_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(WorkplaceRefused, match="others may write"), own_workplace(tmp_path):
        pass


def test_refuses_a_folder_too_deep_for_sockets(tmp_path: Path) -> None:
    with pytest.raises(WorkplaceRefused, match="too long"), own_workplace(tmp_path / ("a" * 100)):
        pass


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        pytest.param("echo no; exit 3", r"(?s)ended with 3.*end of .*  no", id="ends-early"),
        pytest.param("exec sleep 600", "did not say 'ready' in 0.1 s", id="too-slow"),
    ],
)
def test_a_program_that_does_not_come_up_shows_its_log(tmp_path: Path, script: str, sentence: str) -> None:
    with Program("it", ["sh", "-c", script], log=tmp_path / "it.log", environment={"PATH": "/bin:/usr/bin"}) as program:
        with pytest.raises(ProgramFailed, match=sentence):
            program.wait_for("ready", deadline_s=0.1)
        if "exit" not in script:
            assert program.running


def test_events_are_found_among_other_lines(tmp_path: Path) -> None:
    script = """echo starting; echo '{"event": "other"}'; echo '[1]'; echo '{"event": "ready", "url": "http://x"}'"""
    with Program("it", ["sh", "-c", script], log=tmp_path / "it.log", environment={"PATH": "/bin:/usr/bin"}) as program:
        assert program.wait_for("ready", deadline_s=10)["url"] == "http://x"

"""The launcher's settings and its surroundings, and how it is built. What it tells the agent is in test_launcher.py."""

import shutil
import subprocess
from pathlib import Path

import pytest

from shim_hooks.launcher.build import LauncherNotBuilt, build_launcher
from shim_hooks.launcher_protocol import CreateRequest, error_reply
from tests.conftest import needs
from tests.integration.launcher_rig import Rig, launcher, rig

__all__ = ["launcher", "rig"]

# ---- settings ----


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(
            "colour=red", "no setting is called 'colour'; there are runtime, socket and deadline_ms", id="key"
        ),
        pytest.param("deadline_ms=soon", "deadline_ms=soon is not a number from 1 to", id="word"),
        pytest.param("deadline_ms=0", "deadline_ms=0 is not a number", id="zero"),
        pytest.param("deadline_ms=1e3", "deadline_ms=1e3 is not a number", id="float"),
        pytest.param("deadline_ms=99999999999999999999", "is not a number", id="overflow"),
        pytest.param("socket=agent.sock", "socket=agent.sock is not an absolute path", id="relative-socket"),
        pytest.param("socket=/" + "s" * 200, "is not an absolute path of at most 107 bytes", id="long-socket"),
        pytest.param("runtime=bin/runc", "is neither an absolute path nor a bare name", id="relative-runtime"),
        pytest.param("just words", "want key=value, got 'just words'", id="no-equals"),
        pytest.param("#" * 5000, "is longer than 4096 bytes or no text", id="long-file"),
        pytest.param("a\0b", "is longer than 4096 bytes or no text", id="binary"),
    ],
)
def test_bad_settings_stop_create_alone(rig: Rig, line: str, words: str) -> None:
    rig.configure(line)
    with rig.agent():
        outcome = rig.run("create", "--bundle", str(rig.bundle), "c1")
    assert outcome.code == 1
    assert outcome.stderr.startswith(f"floxbridge launcher settings: {rig.conf}")
    assert words in outcome.stderr
    assert rig.run("--version").code == 0  # by the runtime of the file, or by the default one


def test_white_space_and_comments_in_settings(rig: Rig) -> None:
    rig.configure("", "  # remark", f"\tsocket = {rig.folder}/other.sock \r", "deadline_ms =\t7")
    assert f"does not answer at {rig.folder}/other.sock:" in rig.run("create", "c1", cwd=rig.bundle).stderr


def test_the_callers_environment_changes_nothing(rig: Rig) -> None:
    rig.configure("runtime=echo")
    fake = rig.folder / "bin"
    fake.mkdir()
    shutil.copy(rig.runtime, fake / "echo")
    outcome = rig.run("a", "b", env={"PATH": str(fake), "RUNTIME": "x", "FLOXBRIDGE_SOCKET": "y"})
    assert (outcome.stdout, outcome.runtime_argv) == ("a b\n", None)


def test_a_name_of_its_own_or_a_link_changes_nothing(rig: Rig) -> None:
    """containerd's BinaryName may be a link: the settings lie beside the program that it leads to."""
    link = rig.folder / "links" / "runc"
    link.parent.mkdir()
    link.symlink_to(rig.launcher)
    done = subprocess.run(["anything", "state"], executable=link, capture_output=True, check=False)
    assert done.stdout == b"from the runtime\n"


def test_it_does_not_run_itself(rig: Rig) -> None:
    rig.configure(f"runtime={rig.launcher}")
    outcome = rig.run("state")
    assert outcome.code == 1
    assert "is the floxbridge launcher itself: name the real runc or crun" in outcome.stderr


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        pytest.param("/nowhere/runc", "runtime /nowhere/runc cannot be started: No such file", id="path"),
        pytest.param("no-such-runtime", "there is no runtime 'no-such-runtime' in /usr/local/sbin:", id="name"),
    ],
)
def test_a_runtime_that_is_not_there(rig: Rig, runtime: str, words: str) -> None:
    rig.configure(f"runtime={runtime}")
    outcome = rig.run("state")
    assert outcome.code == 1
    assert words in outcome.stderr


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_stay_out_of_the_protocol(rig: Rig, closed: str) -> None:
    with rig.agent(error_reply("no")) as agent:
        command = f"exec {rig.launcher} --log {rig.log} create --bundle {rig.bundle} c1 {closed}"
        assert subprocess.run(["sh", "-c", command], check=False, capture_output=True).returncode == 1
        assert agent.requests(1) == [CreateRequest(rig.bundle, "c1", 20.0)]
    assert rig.log.read_text().count("\n") == 1


# ---- building it ----


@pytest.mark.parametrize("compiler", ["musl-gcc", "cc", None])
def test_it_is_static_with_either_library(tmp_path: Path, compiler: str | None) -> None:
    needs("readelf", "musl-gcc")
    launcher = tmp_path / "built" / "floxbridge-runc"
    build_launcher(launcher, compiler=compiler)
    headers = subprocess.run(["readelf", "-l", launcher], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers
    rig = Rig(tmp_path, launcher)
    with rig.agent(None) as agent:
        waiting = subprocess.Popen([rig.launcher, "create", "--bundle", rig.bundle, "c1"])
        assert agent.requests(1) == [CreateRequest(rig.bundle, "c1", 20.0)]
        waiting.terminate()
        waiting.wait()
    assert rig.run("state").code == 0


def test_building_replaces_a_launcher_that_runs(launcher: Path, tmp_path: Path) -> None:
    rig = Rig(tmp_path, launcher)
    with rig.agent(None) as agent:
        waiting = subprocess.Popen([rig.launcher, "create", "--bundle", rig.bundle, "c1"])
        agent.requests(1)
        build_launcher(rig.launcher)
        waiting.terminate()
        waiting.wait()
    assert rig.run("state").code == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_no_compiler(tmp_path: Path) -> None:
    with pytest.raises(LauncherNotBuilt, match=r"no C compiler 'no-such-cc'.*install one"):
        build_launcher(tmp_path / "out" / "launcher", compiler="no-such-cc")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        pytest.param("ld: cannot find -lc: No such file", "no static C library", id="no-static-libc"),
        pytest.param("something odd", "could not build the launcher: something odd", id="other"),
        pytest.param("", "it said nothing", id="silent"),
    ],
)
def test_a_compiler_that_fails(tmp_path: Path, stderr: str, words: str) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\necho '{stderr}' >&2\nexit 1\n")
    compiler.chmod(0o755)
    with pytest.raises(LauncherNotBuilt, match=words):
        build_launcher(tmp_path / "launcher", compiler=str(compiler))
    assert not (tmp_path / "launcher").exists()


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    needs("cc")
    (tmp_path / "file").write_text("")
    with pytest.raises(LauncherNotBuilt, match="cannot be written to"):
        build_launcher(tmp_path / "file" / "launcher")

"""The scripts in tools/, where they can do nothing: they say so and let `make` go on. What they do where they can is
seen by every test that runs a program of theirs."""

import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH, with a shell's bare necessities and without apt-get."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("id", "sh"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return programs


def test_tells_what_is_missing_where_nothing_can_be_installed(bare: Path, tmp_path: Path) -> None:
    done = run(bare, tmp_path, TOOLS / "debian-packages.sh")
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert {"containerd", "podman", "busybox-static", "python3-venv"} <= set(done.stderr.replace(".", " ").split())


def test_tells_that_newer_runtimes_cannot_be_had(bare: Path, tmp_path: Path) -> None:
    done = run(bare, tmp_path, TOOLS / "newer-runtimes.sh", str(tmp_path / "runtimes"))
    assert done.returncode == 0
    told = [line.partition(" cannot")[0] for line in done.stderr.splitlines()]
    assert told == ["containerd of Debian trixie", "containerd of Debian sid", "crun of Debian trixie"]
    assert not (tmp_path / "runtimes").exists()


def test_tells_that_oras_cannot_be_had(bare: Path, tmp_path: Path) -> None:
    done = run(bare, tmp_path, TOOLS / "oras.sh", str(tmp_path / "oras"))
    assert done.returncode == 0
    assert done.stderr == "oras of Debian trixie cannot be had: this is not Debian. The tests on it will say so.\n"
    assert not (tmp_path / "oras").exists()


def run(path: Path, folder: Path, script: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(path / "sh"), str(script), *arguments]
    environment = {"PATH": str(path)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)

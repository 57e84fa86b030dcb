"""The README says what is true: every command in it is run, every path in it exists, every link leads somewhere."""

import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

# Run elsewhere: the one by tests/node/test_demo.py, the other is what runs this.
RUN_ELSEWHERE = {"make demo", "make test"}
_DEADLINE_S = 120


def commands() -> list[str]:
    """The commands of all blocks, in order, a line each; continued lines are one."""
    blocks = [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in _BLOCK.findall(README)]
    return "".join(blocks).replace("\\\n", " ").splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout after `make setup`, and whose `build/` is its own."""
    for name in (".venv", "docs", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "build").mkdir()
    return tmp_path


def test_every_command_works_as_written(checkout: Path) -> None:
    needs("skopeo", "curl", "git", "cc")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = [command for command in commands() if command not in RUN_ELSEWHERE]
    script = "set -eu\ntrap 'kill $(jobs -p)' EXIT\n" + "\n".join(told).replace("127.0.0.1:5000", f"127.0.0.1:{port}")
    run = subprocess.Popen(
        ["bash", "-c", script],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = run.communicate(timeout=_DEADLINE_S)
    finally:
        run.send_signal(signal.SIGTERM)
    assert run.returncode == 0, output
    assert '"tags":["1","latest","live"]' in output.replace(" ", "")
    assert "refs/heads/hello" in output
    assert (checkout / "build" / "floxbridge-runc").stat().st_mode & 0o111


def test_the_two_commands_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert set(commands()) >= RUN_ELSEWHERE
    assert all(re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE) for command in RUN_ELSEWHERE)


@pytest.mark.parametrize("page", sorted(path.name for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]))
def test_links_lead_somewhere(page: str) -> None:
    path = next(path for path in (ROOT / page, ROOT / "docs" / page) if path.exists())
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_dockerfile_runs_the_makefile() -> None:
    """Where no image can be built, the tests of the Makefile's targets stand for it: so it has no steps of its own."""
    steps = re.findall(r"^RUN (.*?)(?<!\\)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
    own = [step for step in steps if not re.match(r"(apt-get update|make |install --directory )", step)]
    assert (own, sum(step.startswith("make install") for step in steps)) == ([], 1)


def test_make_install_makes_both_halves_and_the_launcher(tmp_path: Path) -> None:
    needs("make", "cc")
    prefix = tmp_path / "opt"
    made = subprocess.run(
        ["make", "-C", str(ROOT), "install", f"PREFIX={prefix}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    for program in ("floxbridge", "floxbridge-node"):
        shown = subprocess.run(
            [prefix / "bin" / program, "--help"], capture_output=True, text=True, timeout=60, check=True
        )
        assert shown.stdout.startswith(f"usage: {program}")
    assert (prefix / "bin" / "floxbridge-runc").exists()
    missing = subprocess.run([prefix / "bin" / "python", "-c", "import pytest"], capture_output=True, check=False)
    assert missing.returncode != 0, "what only developers need is not installed"

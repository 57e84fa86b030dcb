"""A local FloxHub on a real port, and plain git as on anybody's machine."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from registry_proxy.hub.repository import git_environment


def git(*arguments: str, cwd: Path | None = None, config: tuple[str, ...] = ()) -> str:
    return run_git(*arguments, cwd=cwd, config=config).stdout


def run_git(
    *arguments: str,
    cwd: Path | None = None,
    config: tuple[str, ...] = (),
    check: bool = True,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """What git says on failure is in the assertion."""
    settings = [
        part for setting in ("user.name=A", "user.email=a@example.invalid", *config) for part in ("-c", setting)
    ]
    done = subprocess.run(
        ["git", *settings, *arguments],
        cwd=cwd,
        env={**git_environment(), **(variables or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not check or not done.returncode, done.stderr
    return done


@contextmanager
def serving(root: Path, *flags: str | Path, complaints: str = "") -> Iterator[str]:
    """The URL of `floxbridge hub serve`, which must end well when it is told to, having said `complaints` on stderr."""
    hub = [sys.executable, "-m", "registry_proxy.cli", "hub", "serve"]
    command = [*hub, "--root", str(root), "--listen", "127.0.0.1:0", *map(str, flags)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (0, complaints)


def processes_in(folder: Path) -> list[int]:
    """Processes that work in a folder at this moment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found

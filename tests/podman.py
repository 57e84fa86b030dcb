"""podman with a storage of its own."""

import subprocess
from pathlib import Path

from tests.conftest import needs, needs_root


class Podman:
    """`folder` has a short path: podman wants one of at most 50 characters. It is the caller's to remove.

    `before` is what podman itself is run by, as words before its own.
    """

    def __init__(self, folder: Path, *flags: str, before: tuple[str, ...] = ()) -> None:
        needs("podman")
        needs_root()
        places = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--tmpdir", str(folder / "tmp")]
        self._command = [*before, "podman", *places, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", *flags]

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self._command, *arguments], capture_output=True, text=True, timeout=60, check=False)

"""Building the launcher: one C file, compiled to one static program.

Belongs here: the compiler's call and its complaints. What the program does is told in `floxbridge_runc.c`.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from shim_hooks.errors import NodeError

SOURCE = Path(__file__).with_name("floxbridge_runc.c")
_FLAGS = ("-std=c11", "-O2", "-static", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-s")
_COMPILE_DEADLINE_S = 120
_COMPILERS = ("musl-gcc", "cc")
"""The first that is there: a program of musl's starts in a quarter of the time of one with glibc in it."""


class LauncherNotBuilt(NodeError):
    """The launcher could not be compiled, or not be put where it was wanted."""


def build_launcher(output: Path, *, compiler: str | None = None) -> None:
    """Compiles the launcher to `output`, whole or not at all; half a second, so it is always made anew.

    `compiler` None is musl-gcc where it is installed, else cc.

    A launcher that runs at this moment is not disturbed: the file is replaced, never written to.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".launcher-", dir=output.parent) as folder:
            program = Path(folder) / output.name
            _compile(compiler or _installed(), program)
            program.chmod(0o755)
            program.replace(output)
    except OSError as error:
        raise LauncherNotBuilt(f"the launcher cannot be written to {output}: {error.strerror}") from error


def _installed() -> str:
    return next((name for name in _COMPILERS if shutil.which(name) is not None), _COMPILERS[-1])


def _compile(compiler: str, program: Path) -> None:
    command = [compiler, *_FLAGS, "-o", str(program), str(SOURCE)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COMPILE_DEADLINE_S, check=False
        )
    except (FileNotFoundError, PermissionError) as error:
        raise LauncherNotBuilt(
            f"no C compiler {compiler!r} to build the launcher with: "
            "install one (Debian: apt-get install gcc libc6-dev) or name one with --compiler"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LauncherNotBuilt(f"{compiler} did not finish within {_COMPILE_DEADLINE_S} s") from error
    if done.returncode != 0:
        raise LauncherNotBuilt(_complaint(compiler, done.stderr))


def _complaint(compiler: str, stderr: str) -> str:
    if "cannot find -lc" in stderr:
        return (
            f"{compiler} finds no static C library, which the launcher needs: install it "
            "(Debian: libc6-dev, Fedora: glibc-static, Alpine: musl-dev)"
        )
    return f"{compiler} could not build the launcher: {stderr.strip()[-2000:] or 'it said nothing'}"

"""`floxbridge demo`: makes a workplace, has the acts performed in it, and sweeps it whatever happens.

Belongs here: flags, signals, exit codes. What is done and told is in `acts.py`, which runs as a program of its own: so
that a ctrl-C can come at any moment. It only ends that program; this one, which sweeps, goes on undisturbed.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from floxbridge_demo.workplace import Workplace, WorkplaceRefused, default_parent, own_workplace

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ACTS = "floxbridge_demo.acts"
_OWN_FOLDER = "floxbridge-demo"  # what lies in a folder that the user named


def run_demo(argv: Sequence[str]) -> int:
    """0; 1 when something failed; 128 + n when signal n ended it."""
    options = demo_parser().parse_args(argv)
    if find_spec("grpc") is None:
        print("floxbridge demo: grpcio is missing: pip install 'floxbridge[cri]'", file=sys.stderr)
        return 1
    parent = default_parent() if options.dir is None else options.dir / _OWN_FOLDER
    try:
        with _Interruptions() as interruptions, own_workplace(parent) as workplace:
            print(f"floxbridge demo: all of it is in {workplace.folder}, and removed at the end", flush=True)
            code = interruptions.perform(_acts(workplace, options), workplace)
            print("\nended, and cleaning up", flush=True)
            return code
    except WorkplaceRefused as error:
        print(f"floxbridge demo: {error}", file=sys.stderr)
        return 1


class _Interruptions:
    """Within it a signal ends the program that is being performed, and nothing else: no exception is ever raised."""

    def __init__(self) -> None:
        self._received: list[int] = []
        self._performing: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def perform(self, command: Sequence[str], workplace: Workplace) -> int:
        """Runs the program to its end, or to ours. In a session of its own, a terminal's ctrl-C does not reach it."""
        if not self._received:
            self._performing = subprocess.Popen(command, env=workplace.environment, start_new_session=True)
            if self._received:  # while it was started
                self._performing.kill()
            code = self._performing.wait()
        return 128 + self._received[0] if self._received else code

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(number)
        if self._performing is not None:
            self._performing.kill()


def _acts(workplace: Workplace, options: argparse.Namespace) -> list[str]:
    flags = [flag for flag, wanted in (("--keep", options.keep), ("--no-container", options.no_container)) if wanted]
    return [sys.executable, "-m", _ACTS, str(workplace.folder), *flags]


def demo_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="floxbridge demo",
        description="Runs a Flox environment in a container on this machine, with a FloxHub, binary cache, registry "
        "and a containerd of its own. Nothing else on the machine is touched, and nothing stays behind.",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave it running until ctrl-C, and print how to talk to it"
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help=f"work in DIR/{_OWN_FOLDER} (default: {default_parent()})"
    )
    parser.add_argument("--no-container", action="store_true", help="only what needs neither root nor containerd")
    return parser

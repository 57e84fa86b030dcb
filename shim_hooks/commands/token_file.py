"""A FloxHub token for a command by hand, from a file: an argument would stand in the list of processes.

Belongs here: reading it. Whoever runs the command chose the file, so it is followed wherever it leads; what a pod
mounts is read with more care (`bundle/token_mount.py`).
"""

import sys
from pathlib import Path

from shim_hooks.errors import Refused
from shim_hooks.floxhub_token import MAX_BYTES, FloxHubToken, TokenMalformed

STANDARD_INPUT = Path("-")


def read_token(file: Path | None) -> FloxHubToken | None:
    """None where no file is given; `-` is standard input. Raises Refused, which never says what is in the file."""
    if file is None:
        return None
    try:
        if file == STANDARD_INPUT:
            return FloxHubToken.parse(sys.stdin.buffer.read(MAX_BYTES + 1))
        with file.open("rb") as opened:
            return FloxHubToken.parse(opened.read(MAX_BYTES + 1))
    except OSError as problem:
        raise Refused(f"--token-file {file} cannot be read: {problem.strerror}") from problem
    except TokenMalformed as problem:
        raise Refused(f"--token-file {file}: {problem}") from problem

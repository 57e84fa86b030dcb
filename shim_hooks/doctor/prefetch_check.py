"""Fetching ahead: can the agent hear from containerd that an image came, where it is told to.

Nothing of it is bad: without it containers wait longer, and start all the same.
"""

import importlib.util
import socket
from pathlib import Path

from shim_hooks.doctor.finding import Finding

PREFETCH = "prefetch"
_USUAL = "--containerd-socket /run/containerd/containerd.sock\nor, on k3s, /run/k3s/containerd/containerd.sock"
_SO = "environments are not fetched ahead"


def check_prefetch(containerd: Path | None, *, deadline_s: float) -> list[Finding]:
    """`containerd` is where its socket is to be; where fetching ahead is not wanted there is nothing to say."""
    if containerd is None:
        return []
    if importlib.util.find_spec("grpc") is None:
        return [Finding.doubtful(PREFETCH, f"grpcio is not installed: {_SO}", "pip install 'floxbridge[cri]'")]
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(deadline_s)
            connection.connect(str(containerd))
    except PermissionError:
        return [Finding.doubtful(PREFETCH, f"{containerd} cannot be opened by this user", "run this as root")]
    except OSError as problem:
        said = f"no containerd listens at {containerd} ({problem.strerror or problem}): {_SO}"
        return [Finding.doubtful(PREFETCH, said, _USUAL)]
    return [
        Finding.good(PREFETCH, f"containerd listens at {containerd}: environments are fetched as their images come")
    ]

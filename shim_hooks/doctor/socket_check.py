"""The agent's socket: does somebody listen there, and who may speak to it."""

import os
import stat
from pathlib import Path

from shim_hooks.agent_listener import is_served
from shim_hooks.doctor.finding import Finding

SOCKET = "agent"
_START = "systemctl start floxbridge-node (or run, as root: floxbridge-node agent)"


def check_socket(socket: Path) -> list[Finding]:
    """Disturbs nobody: the agent does not even notice."""
    try:
        status, folder = socket.lstat(), socket.parent.stat()
    except FileNotFoundError:
        return [Finding.bad(SOCKET, f"no agent listens at {socket}: every create of a Flox container fails", _START)]
    except OSError as problem:
        return [Finding.doubtful(SOCKET, f"{socket} could not be looked at: {problem.strerror}", "run this as root")]
    if not stat.S_ISSOCK(status.st_mode):
        return [Finding.bad(SOCKET, f"{socket} is no socket", f"rm {socket}\n{_START}")]
    if not is_served(socket):
        said = f"{socket} is there and no agent lives behind it"
        if os.geteuid() not in (0, status.st_uid):
            return [Finding.doubtful(SOCKET, f"{said}, as far as this user can see", "run this as root")]
        return [Finding.bad(SOCKET, f"{said}: every create of a Flox container fails", _START)]
    if status.st_uid not in (0, os.geteuid()):
        said = f"{socket} belongs to uid {status.st_uid}: who is asked about containers must be root"
        return [Finding.bad(SOCKET, said, "run the agent as root")]
    if stat.S_IMODE(status.st_mode) & 0o077:
        said = f"{socket} can be opened by others than root (mode {stat.S_IMODE(status.st_mode):04o})"
        return [Finding.bad(SOCKET, said, f"chmod 600 {socket}")]
    if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        said = f"{socket.parent} can be written to by others, who could put an agent of theirs there"
        return [Finding.bad(SOCKET, said, f"chmod 755 {socket.parent}")]
    return [Finding.good(SOCKET, f"listens at {socket}, for root alone")]

"""What a run can leave on the machine, and its removal. Nothing is remembered: all of it is found anew, by its mark, by
where it is mounted, by the runtime's own records. So a run that was killed is swept in the same way as one that ended.

Belongs here: one function for each kind of thing, and their order. A kind that a new part of the demo adds goes here.
"""

import os
import re
import select
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PATIENCE_S = 10.0
RUNC_ROOT = "runc"
CONTAINERD_STATE = "containerd-state"

_SHIM_SOCKETS = Path("/run/containerd/s")
_SHIM_SOCKET = re.compile(rf"unix://({_SHIM_SOCKETS}/[0-9a-f]{{64}})")


def sweep(folder: Path, *, mark: str, cgroup: str) -> None:
    """Removes `folder` and all that belongs to it. Safe to repeat, and to go on with where a sweep was killed."""
    kill_processes(mark)  # first: a shim or an agent that lives would bring the rest back
    delete_containers(folder / RUNC_ROOT)
    unlink_shim_sockets(folder / CONTAINERD_STATE)
    unmount(folder)
    remove_cgroups(cgroup)
    remove_folder(folder)


def kill_processes(mark: str) -> None:
    """Ends each process whose first environment has the entry `mark`, until there is none, looked for three times.

    A process that is just being started has no environment to be seen yet.
    """
    end, calm = time.monotonic() + _PATIENCE_S, 0
    while calm < 3 and time.monotonic() < end:
        found = list(_marked(mark))
        calm = 0 if found else calm + 1
        if not found:
            time.sleep(0.1)
        for process in found:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], max(0.0, end - time.monotonic()))
            os.close(process)


def _marked(mark: str) -> Iterator[int]:
    """A pidfd for each: unlike a number it never means another process later."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            process = os.pidfd_open(int(entry.name))
        except ProcessLookupError:
            continue
        if mark in _environment(entry) and _state(entry) != "Z":
            yield process
        else:
            os.close(process)


def _environment(process: Path) -> list[str]:
    try:
        return (process / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # gone, or another user's
        return []


def _state(process: Path) -> str:
    try:
        return (process / "stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return "Z"


def delete_containers(runc_root: Path) -> None:
    """Containers outlive their shim; runc's own records (`<root>/<namespace>/<id>`) say which there are."""
    for container in runc_root.glob("*/*"):
        command = ["runc", "--root", str(container.parent), "delete", "--force", container.name]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False)


def unlink_shim_sockets(containerd_state: Path) -> None:
    """containerd puts them in a place that cannot be configured, and writes down where beside each bundle: 1.x in
    `address`, 2.x in `bootstrap.json`."""
    tasks = containerd_state / "io.containerd.runtime.v2.task"
    for record in (*tasks.glob("*/*/address"), *tasks.glob("*/*/bootstrap.json")):
        for address in _SHIM_SOCKET.findall(record.read_text(errors="replace")):
            Path(address).unlink(missing_ok=True)
    for folder in (_SHIM_SOCKETS, _SHIM_SOCKETS.parent):  # in use as long as any containerd of the machine is
        with suppress(OSError):
            folder.rmdir()


def unmount(folder: Path) -> None:
    """Every mount at or below `folder`, the latest first."""
    for point in reversed([it for it in _mount_points() if it.is_relative_to(folder)]):
        subprocess.run(["umount", "--lazy", str(point)], capture_output=True, timeout=_PATIENCE_S, check=False)


def _mount_points(kinds: tuple[str, ...] = ()) -> list[Path]:
    """In the order in which they were mounted; of all file systems or of those named."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if not kinds or right.split(" ", 1)[0] in kinds:
            points.append(Path(_unescape(left.split(" ")[4])))
    return points


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def remove_cgroups(cgroup: str) -> None:
    """The group and those below it, in every hierarchy. They are empty: the containers are gone."""
    for hierarchy in _mount_points(("cgroup", "cgroup2")):
        top = hierarchy / cgroup.lstrip("/")
        for directory, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(directory).rmdir()


def remove_folder(folder: Path) -> None:
    """Store paths are read-only, which holds up everybody but root."""
    for directory, _, _ in os.walk(folder):
        with suppress(OSError):
            Path(directory).chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)

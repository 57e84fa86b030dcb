"""The node's store: is its disk one that containers can run from, and is there room.

Belongs here: looking at the folder and at its file system. Does not: what is in it (`status`, `verify`).
"""

import fcntl
import os
import stat
import time
from pathlib import Path

from shim_hooks.doctor.finding import Finding
from shim_hooks.store.room import Room
from shim_hooks.store.store_folders import private_folders

STORE, DISK = "store", "disk"
_GIB = 1024**3
_LOW_BYTES, _NO_BYTES = 5 * _GIB, _GIB // 4
_LOW_INODES, _NO_INODES = 100_000, 5_000  # a store path has about 50 files, an environment a hundred paths
_EVICTED_BELOW = 0.1
_GROWING_S = 60.0  # a folder in staging is made first and locked a moment later


def check_store(state_dir: Path) -> list[Finding]:
    try:
        folder = _nearest(state_dir)
        status = folder.stat()
        room, flags = Room.look(folder), os.statvfs(folder).f_flag
    except OSError as problem:
        said = f"{state_dir} could not be looked at: {problem.strerror}"
        return [Finding.doubtful(STORE, said, "run this as root")]
    return [*_folder(state_dir, folder, status, flags), judge_room(room, state_dir)]


def _nearest(path: Path) -> Path:
    """`path`, or the nearest parent that exists: the agent makes the rest."""
    for place in (path, *path.parents):
        if place.exists():
            return place
    raise FileNotFoundError(2, "no such folder", str(path))


def _folder(state_dir: Path, folder: Path, status: os.stat_result, flags: int) -> list[Finding]:
    elsewhere = "give the agent a folder on another disk: --state-dir DIR"
    if not stat.S_ISDIR(status.st_mode):
        return [Finding.bad(STORE, f"{folder} is no folder", elsewhere)]
    if flags & os.ST_RDONLY:
        said = f"the disk that holds {state_dir} is mounted read-only"
        return [Finding.bad(STORE, said, f"mount -o remount,rw …\nor {elsewhere}")]
    if flags & os.ST_NOEXEC:
        said = f"the disk that holds {state_dir} is mounted noexec: no program of an environment can be started"
        return [Finding.bad(STORE, said, f"mount -o remount,exec …\nor {elsewhere}")]
    if status.st_mode & stat.S_IWOTH and not (folder != state_dir and status.st_mode & stat.S_ISVTX):
        said = f"{folder} can be written to by everybody, who could change what containers run"
        return [Finding.bad(STORE, said, f"chmod 700 {folder}")]
    if not os.access(folder, os.W_OK | os.X_OK):
        if os.geteuid() == 0:
            return [Finding.bad(STORE, f"{folder} cannot be written to", elsewhere)]
        return [Finding.doubtful(STORE, f"{folder} cannot be written to by this user", "run this as root")]
    if folder != state_dir:
        return [Finding.good(STORE, f"{state_dir} is not there yet; the agent makes it")]
    return _inside(state_dir)


def _inside(state_dir: Path) -> list[Finding]:
    store, staging = state_dir / "store", state_dir / "staging"
    try:
        if store.exists() and staging.exists() and store.stat().st_dev != staging.stat().st_dev:
            said = f"{store} and {staging} are on different disks: nothing can be moved into the store"
            return [Finding.bad(STORE, said, "mount one disk at the state folder itself, and none below it")]
        if store.exists() and os.statvfs(store).f_flag & os.ST_NOEXEC:
            said = f"{store} is mounted noexec: no program of an environment can be started"
            return [Finding.bad(STORE, said, f"mount -o remount,exec {store}")]
        paths = sum(1 for folder in (store, *private_folders(state_dir)) if folder.exists() for _ in folder.iterdir())
        left = _leftovers(staging) if staging.exists() else 0
    except OSError as problem:
        said = f"{problem.filename} could not be looked at: {problem.strerror}"
        return [Finding.doubtful(STORE, said, "run this as root")]
    if left:
        said = f"{left} folders in {staging} were left by agents that died; the next start sweeps them"
        return [Finding.doubtful(STORE, said, "systemctl restart floxbridge-node")]
    return [Finding.good(STORE, f"{state_dir} holds {paths} store paths and can be written to")]


def _leftovers(staging: Path) -> int:
    """Places whose maker is dead: a living one holds a lock on its own."""
    return sum(_is_left(place) for place in staging.iterdir())


def _is_left(place: Path) -> bool:
    try:
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        if time.time() - os.fstat(lock).st_mtime < _GROWING_S:
            return False
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def judge_room(room: Room, state_dir: Path) -> Finding:
    """Pure."""
    said = f"{_size(room.free_bytes)} of {_size(room.total_bytes)} are free below {state_dir}"
    more = "free space on that disk, or give the agent a larger one: --state-dir DIR"
    if room.free_bytes < _NO_BYTES:
        return Finding.bad(DISK, f"{said}: hardly any environment can be fetched", more)
    if room.inodes and room.free_inodes < _NO_INODES:
        return Finding.bad(DISK, f"only {room.free_inodes} more files can be made below {state_dir} (inodes)", more)
    if room.inodes and room.free_inodes < _LOW_INODES:
        return Finding.doubtful(DISK, f"{room.free_inodes} more files can be made below {state_dir} (inodes)", more)
    if room.free_bytes < _LOW_BYTES:
        return Finding.doubtful(DISK, said, more)
    if room.free_bytes < _EVICTED_BELOW * room.total_bytes:
        return Finding.doubtful(DISK, f"{said}: kubelet evicts pods when less than a tenth is free", more)
    return Finding.good(DISK, said)


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"

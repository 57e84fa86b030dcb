"""Who could change a file that root runs or believes.

Belongs here: owner and mode of a file and of the folder it lies in. Who may write one decides what root does.
"""

import os
import stat
from pathlib import Path


def who_else_may_write(path: Path) -> str:
    """What is wrong, as the rest of a sentence about `path`, or "". Raises OSError when it cannot be looked at."""
    for place, name in ((path, "it"), (path.parent, f"its folder {path.parent}")):
        status = place.stat()
        if status.st_uid not in (0, os.geteuid()):
            return f"{name} belongs to uid {status.st_uid}, who can change what root runs"
        writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if writable and not (status.st_mode & stat.S_ISVTX and place != path):
            return f"{name} can be written to by others than root (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""

"""The only reader and writer of a bundle's `config.json`.

Belongs here: the file, whole or not at all. What is in it is in `spec.py`.
"""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from shim_hooks.bundle.spec import MAX_BYTES, Spec
from shim_hooks.errors import BundleInvalid, StoreFailed

_NAME = "config.json"


def read_spec(bundle: Path) -> Spec:
    """Raises BundleInvalid for a `config.json` that is missing, no regular file, too large or no specification."""
    path = bundle / _NAME
    try:
        # Not through a symlink, and never waiting at a fifo: the bundle's folder is root's, what lies in it may not be.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = _read_regular(file)
        finally:
            os.close(file)
    except OSError as problem:
        raise BundleInvalid(f"{path} cannot be read: {problem.strerror}") from problem
    if data is None:
        raise BundleInvalid(f"{path} is not a regular file")
    return Spec.parse(data)


def _read_regular(file: int) -> bytes | None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        return None
    with os.fdopen(file, "rb", closefd=False) as stream:
        return stream.read(MAX_BYTES + 1)


def write_spec(bundle: Path, spec: Spec) -> None:
    """Replaces `config.json`, keeping its mode and owner. Until it is replaced, nothing has changed.

    Raises StoreFailed when the disk does not take it.
    """
    path = bundle / _NAME
    try:
        before = path.stat(follow_symlinks=False)
        file, name = tempfile.mkstemp(prefix=f".{_NAME}.", dir=bundle)
        try:
            with os.fdopen(file, "wb") as stream:
                os.fchmod(file, stat.S_IMODE(before.st_mode))
                os.fchown(file, before.st_uid, before.st_gid)
                stream.write(spec.to_bytes())
                stream.flush()
                os.fsync(file)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
    except OSError as problem:
        raise StoreFailed(f"{path} cannot be written: {problem.strerror}") from problem

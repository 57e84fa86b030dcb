"""The pod's FloxHub token: a secret mounted where Flox's own Kubernetes runtime looks for it (FH §2, end).

Belongs here: finding the mount, and reading the file on the host without being led elsewhere. Kubelet keeps a secret as
`floxhub-token -> ..data/floxhub-token` and `..data -> ..2026_01_31_…`; these two links are followed, and no others: the
volume may be one that the pod's own containers write to, and this reader is root.
Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from shim_hooks.bundle.spec import Spec
from shim_hooks.errors import Refused
from shim_hooks.floxhub_token import MAX_BYTES, FloxHubToken, TokenMalformed

FOLDERS = ("/var/run/secrets/flox.dev", "/run/secrets/flox.dev")
NAME = "floxhub-token"
_DATA = "..data"
_GENERATION = re.compile(r"\.\.[A-Za-z0-9_.-]{1,100}")
_MEND = f"put it into the secret as {NAME}, and mount the secret there"


def find_token(spec: Spec) -> FloxHubToken | None:
    """None where nothing is mounted. Blocks. Raises Refused for a mount without a token; never says what it holds."""
    for folder in FOLDERS:
        for destination, name in ((f"{folder}/{NAME}", None), (folder, NAME)):
            source = spec.bind_sources.get(destination)
            if source is not None:
                return _token(source, name, destination)
    return None


def _token(source: str, name: str | None, destination: str) -> FloxHubToken:
    try:
        data = _read_file(source) if name is None else _read_in_volume(source, name)
        return FloxHubToken.parse(data)
    except OSError as problem:
        why = "leads out of its volume" if problem.errno == errno.ELOOP else problem.strerror
        raise Refused(f"the FloxHub token mounted at {destination} cannot be read: {why}; {_MEND}") from problem
    except TokenMalformed as problem:
        raise Refused(f"the FloxHub token mounted at {destination}: {problem}; {_MEND}") from problem


def _read_in_volume(source: str, name: str) -> bytes:
    with _opened(source, os.O_RDONLY | os.O_DIRECTORY) as volume:
        if not _is_link(name, volume):
            return _read(name, volume)
        if os.readlink(name, dir_fd=volume) != f"{_DATA}/{name}":
            raise OSError(errno.ELOOP, "a link of nobody's")
        generation = os.readlink(_DATA, dir_fd=volume)
        if _GENERATION.fullmatch(generation) is None:
            raise OSError(errno.ELOOP, "a link of nobody's")
        with _opened(generation, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, volume) as data:
            return _read(name, data)


def _read_file(source: str) -> bytes:
    return _read(source, None)


def _read(name: str, folder: int | None) -> bytes:
    """A regular file, and at most one byte more of it than a token may have. Never waits at a fifo."""
    with _opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, folder) as file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        return os.read(file, MAX_BYTES + 1)


def _is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


@contextmanager
def _opened(path: str, flags: int, folder: int | None = None) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=folder)
    try:
        yield file
    finally:
        os.close(file)

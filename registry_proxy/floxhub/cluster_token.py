"""The cluster's own FloxHub token: a file that an operator or a secret's controller may replace at any time."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from registry_proxy.floxhub.credential import ANONYMOUS, MAX_TOKEN_LENGTH, Credential, TokenMalformed

_LOOK_AGAIN_S = 1.0


class ClusterToken:
    """`problem` is called once with a sentence whenever the file becomes unusable; requests then go on as anonymous."""

    def __init__(
        self, path: Path | None, *, problem: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._problem, self._clock = path, problem, clock
        self._credential, self._looked_at, self._seen = ANONYMOUS, float("-inf"), (0, 0, 0)

    def at_hand(self) -> Credential | None:
        """The token, where the file need not be looked at for it."""
        looked = self._path is None or self._clock() - self._looked_at < _LOOK_AGAIN_S
        return self._credential if looked else None

    async def current(self) -> Credential:
        """The token as the file had it a second ago at most; ANONYMOUS without a file or a usable one."""
        now = self._clock()
        if self._path is not None and now - self._looked_at >= _LOOK_AGAIN_S:
            self._looked_at = now
            await anyio.to_thread.run_sync(self._look, self._path)
        return self._credential

    def _look(self, path: Path) -> None:
        try:
            found = path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._credential = _read(path)
                self._seen = seen
        except (OSError, TokenMalformed) as error:
            if self._credential is not ANONYMOUS or self._seen == (0, 0, 0):
                reason = error.strerror if isinstance(error, OSError) else error
                self._problem(f"FloxHub token in {path} cannot be used: {reason}")
            self._credential, self._seen = ANONYMOUS, (-1, -1, -1)


def _read(path: Path) -> Credential:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123  # a descriptor, so that what was opened is what is read
        text = file.read(MAX_TOKEN_LENGTH + 2).decode(errors="replace").strip()
    return Credential.of(text) if text else ANONYMOUS

"""The cluster's own FloxHub token: a file that an operator or a secret's controller may replace at any time.

Belongs here: reading the file when it changes, and saying in time that the token will expire. A JWT says when; an
access token (`flox_…`) does not. An expired one is still used: FloxHub then knows who asks, and says so (FH §1.4).
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import anyio.to_thread

from registry_proxy.floxhub.credential import (
    ANONYMOUS,
    MAX_TOKEN_LENGTH,
    Credential,
    TokenMalformed,
    expires_at,
)
from registry_proxy.reminder import Reminder

_LOOK_AGAIN_S = 1.0
_WARN_AHEAD_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class TokenEvents:
    """Whom to tell, in a sentence. `unusable` once for each bad file, `expiring` daily in a token's last week."""

    unusable: Callable[[str], None]
    expiring: Callable[[str], None]


class ClusterToken:
    """Without a file, or with one that cannot be used, requests are made as nobody in particular."""

    def __init__(self, path: Path | None, events: TokenEvents, *, calendar: Callable[[], float] = time.time) -> None:
        """`calendar` tells what time of the world it is, in seconds. The file is read when it is first looked at."""
        self._path, self._events = path, events
        self._credential, self._seen, self._was_read = ANONYMOUS, (0, 0, 0), path is None
        self._looking = Lock()
        remedy = "put a new one into the file"
        self._reminder = Reminder(f"FloxHub token in {path}", remedy, events.expiring, calendar=calendar)

    @property
    def expires_at(self) -> float:
        """Unix seconds; 0 where there is no token, or one that does not say."""
        token = self._credential.token
        return float(expires_at(token) or 0) if token is not None else 0.0

    def at_hand(self) -> Credential | None:
        """The token, where the file was read already."""
        return self._credential if self._was_read else None

    async def current(self) -> Credential:
        """The token as it was last read, now if never before; ANONYMOUS without a file or a usable one."""
        if not self._was_read:
            await anyio.to_thread.run_sync(self.look_again)
        return self._credential

    async def follow(self) -> None:
        """Takes up changes and warns ahead, until cancelled."""
        while self._path is not None:
            await asyncio.sleep(_LOOK_AGAIN_S)
            await anyio.to_thread.run_sync(self.look_again)

    def look_again(self) -> None:
        """Takes up a change, if there is one, and says that the token expires, when it is time to. Blocks."""
        if self._path is not None:
            with self._looking:
                self._look(self._path)
                self._was_read = True
                if self.expires_at:
                    self._reminder.look(self.expires_at - _WARN_AHEAD_S, self.expires_at)

    def _look(self, path: Path) -> None:
        try:
            found = path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._credential = _read(path)
                self._seen = seen
                self._reminder.renewed()
        except (OSError, TokenMalformed) as error:
            if self._credential is not ANONYMOUS or self._seen == (0, 0, 0):
                reason = error.strerror if isinstance(error, OSError) else error
                self._events.unusable(f"FloxHub token in {path} cannot be used: {reason}")
            self._credential, self._seen = ANONYMOUS, (-1, -1, -1)


def _read(path: Path) -> Credential:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123  # a descriptor, so that what was opened is what is read
        text = file.read(MAX_TOKEN_LENGTH + 2).decode(errors="replace").strip()
    return Credential.of(text) if text else ANONYMOUS

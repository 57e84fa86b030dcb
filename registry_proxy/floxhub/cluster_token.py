"""The cluster's own FloxHub token: a file that an operator or a secret's controller may replace at any time.

Belongs here: reading the file when it changes, and saying in time that the token will expire. A JWT says when; an
access token (`flox_…`) does not. An expired one is still used: FloxHub then knows who asks, and says so (FH §1.4).
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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

    def __init__(
        self,
        path: Path | None,
        events: TokenEvents,
        *,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        """`clock` tells when to look again, `calendar` what time of the world it is; both in seconds."""
        self._path, self._events, self._clock = path, events, clock
        self._credential, self._looked_at, self._seen = ANONYMOUS, float("-inf"), (0, 0, 0)
        remedy = "put a new one into the file"
        self._reminder = Reminder(f"FloxHub token in {path}", remedy, events.expiring, calendar=calendar)

    @property
    def expires_at(self) -> float:
        """Unix seconds; 0 where there is no token, or one that does not say."""
        token = self._credential.token
        return float(expires_at(token) or 0) if token is not None else 0.0

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
            if self.expires_at:
                self._reminder.look(self.expires_at - _WARN_AHEAD_S, self.expires_at)
        return self._credential

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

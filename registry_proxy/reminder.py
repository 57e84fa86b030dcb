"""A reminder that something ends which an operator must renew: a token, a certificate.

Belongs here: when it is said again, and how. When it is due, and what the end is, its owner knows.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

_AGAIN_S = 24 * 3600


class Reminder:
    """Told daily. `calendar` says what time of the world it is, in Unix seconds, like all times here."""

    def __init__(
        self, what: str, remedy: str, told: Callable[[str], None], *, calendar: Callable[[], float] = time.time
    ) -> None:
        self._what, self._remedy, self._told, self._calendar = what, remedy, told, calendar
        self._told_at = float("-inf")

    def renewed(self) -> None:
        """What was told was of another one."""
        self._told_at = float("-inf")

    def look(self, due_at: float, ends_at: float) -> None:
        """Tells, from `due_at` on. A clock that was set back does not silence it: what was told in the future is told
        again."""
        now = self._calendar()
        if now < due_at or 0 <= now - self._told_at < _AGAIN_S:
            return
        self._told_at = now
        verb = "expires" if ends_at > now else "expired"
        when = datetime.fromtimestamp(ends_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        self._told(f"{self._what} {verb} at {when}: {self._remedy}")

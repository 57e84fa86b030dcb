"""TLS from files that may be replaced at any time, as a secret's controller does.

Belongs here: reading the files, what connections get that come after a change, and saying in time that a certificate
ends. Connections that are there keep what they have. Files that do not go together change nothing: a certificate may be
there a moment before its key.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio.to_thread
from cryptography import x509

from flox_formats.settings import SettingsInvalid
from registry_proxy.reminder import Reminder

_LOOK_AGAIN_S = 1.0
_WARN_AHEAD = timedelta(days=7)
_WARN_SHARE = 5
"""What lives for less than five weeks is due in the last fifth of its time: controllers renew in the last third."""

Version = tuple[tuple[int, int, int], ...]
"""What changes when a file does."""


@dataclass(frozen=True, slots=True)
class TlsEvents:
    """Whom to tell. `unusable` and `expiring` get a sentence: once for each bad change; daily when the end is near."""

    reloaded: Callable[[], None]
    unusable: Callable[[str], None]
    expiring: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Validity:
    """Of a certificate, in Unix seconds: from when on its end is worth a warning, and its end."""

    due_at: float
    ends_at: float

    @classmethod
    def read(cls, certificate: Path) -> "Validity | None":
        """Of the first one in a PEM file, which is the one that is shown; None where only OpenSSL can read it."""
        try:
            leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
        except ValueError:
            return None
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        return cls((end - min(_WARN_AHEAD, (end - begin) / _WARN_SHARE)).timestamp(), end.timestamp())


class TlsFiles:
    """`context` is for the listening socket, and stays the same."""

    def __init__(
        self, certificate: Path, key: Path, events: TlsEvents, *, calendar: Callable[[], float] = time.time
    ) -> None:
        """`certificate` is a PEM chain, leaf first. `calendar`: what time of the world it is, in seconds.

        Blocks. Raises SettingsInvalid.
        """
        self._certificate, self._key, self._events = certificate, key, events
        what = f"the certificate in {certificate}"
        self._reminder = Reminder(what, "put a new one there, with its key", events.expiring, calendar=calendar)
        try:
            self._version = self._look()
            self._current, self._validity = self._load(), Validity.read(certificate)
        except (OSError, ssl.SSLError) as error:
            raise SettingsInvalid(f"TLS: {self._sentence(error)}") from error
        self._complained_of: Version | None = None
        self.context = self._load()
        # Called at each handshake, also where the client names no server. Unlike loading new files into `context`,
        # which takes a certificate before it finds out that the key is another's, it cannot leave half a change.
        self.context.sni_callback = self._choose

    @property
    def expires_at(self) -> float:
        """Unix seconds; 0 where the certificate does not say so in a way that can be read."""
        return self._validity.ends_at if self._validity is not None else 0.0

    async def follow(self) -> None:
        """Takes up changes and warns ahead, until cancelled."""
        while True:
            self.warn_ahead()
            await asyncio.sleep(_LOOK_AGAIN_S)
            await anyio.to_thread.run_sync(self.look_again)

    def look_again(self) -> None:
        """Takes up a change, if there is one. Blocks."""
        version: Version = ()
        try:
            version = self._look()
            if version != self._version:
                self._current, self._validity, self._version = self._load(), Validity.read(self._certificate), version
                self._complained_of = None
                self._reminder.renewed()
                self._events.reloaded()
        except (OSError, ssl.SSLError) as error:
            if version != self._complained_of:
                self._complained_of = version
                self._events.unusable(f"{self._sentence(error)}; what was read before goes on being used")

    def warn_ahead(self) -> None:
        """Says that the certificate ends, when it is time to."""
        if self._validity is not None:
            self._reminder.look(self._validity.due_at, self._validity.ends_at)

    def _look(self) -> Version:
        found = (path.stat() for path in (self._certificate, self._key))
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._certificate, self._key, password=lambda: "")  # else it asks at a terminal
        return context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _sentence(self, error: OSError | ssl.SSLError) -> str:
        """`ssl.SSLError` is an OSError whose words are OpenSSL's."""
        reason = error.reason or "not PEM" if isinstance(error, ssl.SSLError) else error.strerror
        return f"{self._certificate} and {self._key} cannot be used: {reason}"

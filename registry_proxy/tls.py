"""TLS from files that may be replaced at any time, as a secret's controller does.

Belongs here: reading the files, and what connections get that come after a change. Those that are there keep what they
have. Files that do not go together change nothing: a certificate may be there a moment before its key.
"""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from flox_formats.settings import SettingsInvalid

_LOOK_AGAIN_S = 1.0

Version = tuple[tuple[int, int, int], ...]
"""What changes when a file does."""


class TlsFiles:
    """`context` is for the listening socket, and stays the same. `told` gets None for a change that was taken up, else
    a sentence why it was not."""

    def __init__(self, certificate: Path, key: Path, *, told: Callable[[str | None], None]) -> None:
        """`certificate` is a PEM chain, leaf first. Blocks. Raises SettingsInvalid."""
        self._certificate, self._key, self._told = certificate, key, told
        try:
            self._version = self._look()
            self._current = self._load()
        except (OSError, ssl.SSLError) as error:
            raise SettingsInvalid(f"TLS: {self._sentence(error)}") from error
        self._complained_of: Version | None = None
        self.context = self._load()
        # Called at each handshake, also where the client names no server. Unlike loading new files into `context`,
        # which takes a certificate before it finds out that the key is another's, it cannot leave half a change.
        self.context.sni_callback = self._choose

    async def follow(self) -> None:
        """Takes up changes, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            await anyio.to_thread.run_sync(self.look_again)

    def look_again(self) -> None:
        """Takes up a change, if there is one. Blocks."""
        version: Version = ()
        try:
            version = self._look()
            if version != self._version:
                self._current, self._version = self._load(), version
                self._complained_of = None
                self._told(None)
        except (OSError, ssl.SSLError) as error:
            if version != self._complained_of:
                self._complained_of = version
                self._told(f"{self._sentence(error)}; what was read before goes on being used")

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

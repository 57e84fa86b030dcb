"""The tokens of a local FloxHub: a file that says who holds which, and what they see.

Belongs here: the file's grammar, and reading it again when it changed. A line is a token:

    TOKEN HANDLE [OWNER/NAME | OWNER/*]... [expires=2026-12-31T00:00:00Z]

A handle sees all environments of the owner of that name, and those that follow. `#` begins a comment line. No message
and no value that is kept has a token in it.
"""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from flox_formats.errors import FormatError
from registry_proxy.floxhub.credential import Credential, TokenMalformed

MAX_BYTES = 1024 * 1024
_ALL = "/*"
_EXPIRES = "expires="


class HubTokensInvalid(FormatError):
    """A file of tokens that cannot be read, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """What one token opens: `environments` are `owner/name`. `expires_at` is in Unix seconds."""

    handle: str
    owners: frozenset[str]
    environments: frozenset[str]
    expires_at: float | None

    def sees(self, owner: str, name: str) -> bool:
        return owner in self.owners or f"{owner}/{name}" in self.environments


_Holders = Mapping[str, TokenHolder]


class HubTokens:
    """The file as it is now. `problem` is called with a sentence when it changed into one that has a fault.

    A file that cannot be used opens nothing: a token that was taken out of it stays out, whatever else went wrong.
    """

    def __init__(self, path: Path, *, problem: Callable[[str], None], now: Callable[[], float] = time.time) -> None:
        """Raises HubTokensInvalid when the file cannot be used to begin with."""
        self._path, self._problem, self._now = path, problem, now
        self._lock = threading.Lock()
        self._holders: _Holders = {}
        self._seen = ""
        self._look()

    def holder(self, token: str) -> TokenHolder | None:
        """Who holds `token` now; None for one that is unknown or has expired. Blocks for a small file."""
        try:
            viewer = Credential.of(token).viewer
        except TokenMalformed:
            return None
        with self._lock:
            self._look_again()
            found = self._holders.get(viewer)
        expired = found is not None and found.expires_at is not None and found.expires_at <= self._now()
        return None if expired else found

    def _look_again(self) -> None:
        try:
            self._look()
        except HubTokensInvalid as error:
            if str(error) != self._seen:
                self._problem(f"{error}; no token is accepted until that is mended")
            self._holders, self._seen = {}, str(error)

    def _look(self) -> None:
        """Reads the whole file each time: no time stamp is fine enough to tell that it is the same."""
        data, mode = _read(self._path)
        seen = hashlib.sha256(data).hexdigest()
        if seen != self._seen:
            self._holders = parse_tokens(data, what=f"tokens in {self._path}")
            self._seen = seen
            if mode & stat.S_IROTH:
                self._problem(f"every user of this machine can read the tokens in {self._path}: chmod 600 {self._path}")


def parse_tokens(data: bytes, *, what: str = "tokens") -> _Holders:
    """Who holds which token, by `Credential.viewer`. Raises HubTokensInvalid, which names a line and never shows it.

    Its sentence begins with `what`.
    """
    if len(data) > MAX_BYTES:
        raise HubTokensInvalid(f"{what}: more than the {MAX_BYTES} bytes that are read")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise HubTokensInvalid(f"{what}: not UTF-8 text") from None
    holders: dict[str, TokenHolder] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            viewer, holder = _holder(words)
        except ValueError as problem:  # all the reasons below are ours, and none shows a token
            raise HubTokensInvalid(f"{what}, line {number}: {problem}") from None
        if viewer in holders:
            raise HubTokensInvalid(f"{what}, line {number}: the same token as on a line before")
        holders[viewer] = holder
    return holders


def _holder(words: list[str]) -> tuple[str, TokenHolder]:
    """Raises ValueError with a reason that quotes no word: any of them may be a token in the wrong place."""
    if len(words) < 2:
        raise ValueError("want TOKEN HANDLE [OWNER/NAME | OWNER/*]... [expires=TIME], got one word")
    owners, environments, expires_at = {_owner(words[1], 2)}, set(), None
    for place, word in enumerate(words[2:], start=3):
        if word.startswith(_EXPIRES):
            expires_at = _moment(word.removeprefix(_EXPIRES), place)
        elif word.endswith(_ALL):
            owners.add(_owner(word.removesuffix(_ALL), place))
        else:
            environments.add(_environment(word, place))
    holder = TokenHolder(words[1], frozenset(owners), frozenset(environments), expires_at)
    return Credential.of(words[0]).viewer, holder


def _owner(text: str, place: int) -> str:
    try:
        return EnvironmentName(text, "any").owner
    except EnvironmentRefInvalid:
        raise ValueError(f"word {place} is neither a handle nor OWNER/*, by the rules for owners") from None


def _environment(text: str, place: int) -> str:
    try:
        return str(EnvironmentName.parse(text))
    except EnvironmentRefInvalid:
        raise ValueError(f"word {place} is none of OWNER/NAME, OWNER/* and expires=TIME") from None


def _moment(text: str, place: int) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"word {place}: want a time with its zone, as in expires=2026-12-31T00:00:00Z")


def _read(path: Path) -> tuple[bytes, int]:
    """The file, and its mode."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1), os.fstat(file.fileno()).st_mode
    except OSError as problem:
        raise HubTokensInvalid(f"cannot read the tokens in {path}: {problem.strerror}") from problem

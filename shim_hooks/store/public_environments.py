"""Environments that the registry shows to anyone, as far as this node has seen: for when the registry is away.

Belongs here: remembering across a restart of the agent. What that is good for is `environment/access.py`'s to decide.
"""

from collections.abc import Iterable
from pathlib import Path

from flox_formats.digest import Digest, DigestInvalid
from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, canonical_json, read_object
from shim_hooks.store.disk import disk_errors, write_whole

LockedEnvironment = tuple[EnvironmentName, Digest]
"""An environment and the lockfile of a generation of it: what a container is given, whatever its number."""

_MAX_BYTES = 4 * 1024 * 1024
_MAX_ENTRIES = 4096


class _Unreadable(FormatError):
    """A file that is none of ours is as good as none."""


class PublicEnvironments:
    """One file, of the latest 4096. Its methods block. Raises StoreFailed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> list[LockedEnvironment]:
        """Oldest first."""
        with disk_errors("reading which environments are public", self._file.parent):
            try:
                data = self._file.read_bytes()
            except FileNotFoundError:
                return []
        try:
            fields = Fields(
                read_object(data, what="public environments", max_bytes=_MAX_BYTES, error=_Unreadable),
                where="public environments",
                error=_Unreadable,
            )
            return [_entry(entry) for entry in fields.objects("environments")]
        except (_Unreadable, EnvironmentRefInvalid, DigestInvalid):
            return []

    def write(self, environments: Iterable[LockedEnvironment]) -> None:
        entries = [{"environment": str(name), "lockfile": str(lockfile)} for name, lockfile in environments]
        write_whole(self._file, canonical_json({"environments": entries[-_MAX_ENTRIES:]}))


def _entry(fields: Fields) -> LockedEnvironment:
    return EnvironmentName.parse(fields.text("environment")), Digest.parse(fields.text("lockfile"))

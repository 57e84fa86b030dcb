"""Of what each linked environment was made: so it can be compared with that, and made anew.

Belongs here: remembering. Does not: making them (`environment/environment_directory.py`), comparing them
(`environment/verify_links.py`). No other place tells: the name of an environment in the store is a hash of these facts.
"""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, canonical_json, read_object
from flox_formats.store_path import StorePath, StorePathInvalid
from flox_formats.system import System
from shim_hooks.environment.mode import Mode
from shim_hooks.store.closures import RecordKey
from shim_hooks.store.disk import TEMPORARY, disk_errors, write_whole

_SUFFIX = ".json"
_MAX_BYTES = 64 * 1024


class LinkedInvalid(FormatError):
    """A document that is no such note."""


@dataclass(frozen=True, slots=True)
class Linked:
    """An environment's name, its closure and the mode it was linked for."""

    environment: EnvironmentName
    closure: RecordKey
    mode: Mode

    @classmethod
    def parse(cls, data: bytes) -> Self:
        error, what = LinkedInvalid, "linked environment"
        fields = Fields(read_object(data, what=what, max_bytes=_MAX_BYTES, error=error), where=what, error=error)
        try:
            return cls(
                EnvironmentName.parse(fields.text("environment")),
                RecordKey(Digest.parse(fields.text("lockfile")), System(fields.text("system"))),
                Mode(fields.text("mode")),
            )
        except ValueError as problem:  # the formats' errors are such, too
            raise error(f"{what}: {problem}") from problem

    def to_bytes(self) -> bytes:
        return canonical_json(
            {
                "environment": str(self.environment),
                "lockfile": str(self.closure.lockfile),
                "system": self.closure.system.value,
                "mode": self.mode.value,
            }
        )


class LinkedEnvironments:
    """`<base name>.json` in `folder`. Its methods block. Raises StoreFailed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, path: StorePath) -> bool:
        return os.path.lexists(f"{self._folder}/{path.base_name}{_SUFFIX}")  # asked before every container

    def keep(self, path: StorePath, linked: Linked) -> None:
        """Before the environment is in the store: what is there is known."""
        write_whole(self._folder / f"{path.base_name}{_SUFFIX}", linked.to_bytes())

    def find(self, base_name: str) -> Linked | None:
        """None for what is no linked environment, and for a note that cannot be read."""
        with disk_errors("reading of what an environment was made", self._folder):
            try:
                return Linked.parse((self._folder / f"{base_name}{_SUFFIX}").read_bytes())
            except (FileNotFoundError, LinkedInvalid):
                return None

    def read(self) -> Mapping[StorePath, Linked]:
        """All of them. One that cannot be read is dropped: it is made again when a container uses the environment."""
        found = {}
        with disk_errors("reading of what environments were made", self._folder):
            for file in self._folder.glob(f"[!{TEMPORARY}]*{_SUFFIX}"):
                try:
                    found[StorePath.from_base_name(file.name.removesuffix(_SUFFIX))] = Linked.parse(file.read_bytes())
                except FileNotFoundError:
                    continue
                except (StorePathInvalid, LinkedInvalid):
                    file.unlink(missing_ok=True)
        return found

    def forget(self, *, all_but: Collection[str], before: float) -> None:
        """Drops the notes made before a time of what is not in the store; `all_but` are the base names that are.

        A younger note may be of an environment that is just being made.
        """
        with disk_errors("forgetting of what environments were made", self._folder):
            for entry in os.scandir(self._folder):
                with suppress(FileNotFoundError):
                    if entry.name.removesuffix(_SUFFIX) not in all_but and entry.stat().st_mtime < before:
                        Path(entry).unlink()

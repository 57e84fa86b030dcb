"""What the registry last said: which generation a reference stands for, for when the registry is away.

Belongs here: remembering. Whether an old answer will do is `environment/realise.py`'s to decide.
"""

from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentRef
from shim_hooks.registry_environment import RegistryEnvironment, RegistryEnvironmentInvalid
from shim_hooks.store.disk import disk_errors, write_whole


class KnownGenerations:
    """One file for each reference that was asked for, named by its digest: names may differ by case alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recall(self, asked: EnvironmentRef) -> RegistryEnvironment | None:
        with disk_errors("reading what the registry last said", self._folder):
            try:
                data = self._file(asked).read_bytes()
            except FileNotFoundError:
                return None
        try:
            known = RegistryEnvironment.parse(data)
        except RegistryEnvironmentInvalid:
            return None
        return known if known.environment == asked.environment else None

    def remember(self, asked: EnvironmentRef, answer: RegistryEnvironment) -> None:
        if self.recall(asked) != answer:
            write_whole(self._file(asked), answer.to_bytes())

    def _file(self, asked: EnvironmentRef) -> Path:
        return self._folder / f"{Digest.of(str(asked).encode()).hex}.json"

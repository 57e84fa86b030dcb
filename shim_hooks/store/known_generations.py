"""What the registry last said: which generation a reference stands for, for when the registry is away.

Belongs here: remembering and forgetting. Whether an old answer will do is `environment/realise.py`'s to decide.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentRef
from shim_hooks.registry.environment import RegistryEnvironment, RegistryEnvironmentInvalid
from shim_hooks.store.disk import disk_errors, write_whole

_A_MOMENT_S = 600.0
_MAX_REMEMBERED = 1024
_NAMES = f"{'[0-9a-f]' * 64}.json"
"""Others keep their own files beside these."""


class KnownGenerations:
    """One file for each reference that was asked for, named by its digest: names may differ by case alone. From any
    thread.

    When the registry said it last is the time at which the file was changed, give or take ten minutes.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._remembered: OrderedDict[EnvironmentRef, tuple[RegistryEnvironment, float]] = OrderedDict()
        self._lock = threading.Lock()

    def is_remembered(self, asked: EnvironmentRef, answer: RegistryEnvironment) -> bool:
        """Whether this very answer was remembered a moment ago, so that nothing has to be written. Does not block."""
        with self._lock:
            known = self._remembered.get(asked)
        return known is not None and known[0] == answer and self._clock() - known[1] < _A_MOMENT_S

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
        self._keep(asked, answer)
        with self._lock:
            self._remembered[asked] = answer, self._clock()
            self._remembered.move_to_end(asked)
            while len(self._remembered) > _MAX_REMEMBERED:
                self._remembered.popitem(last=False)

    def _keep(self, asked: EnvironmentRef, answer: RegistryEnvironment) -> None:
        if self.recall(asked) == answer:
            try:
                os.utime(self._file(asked))
            except FileNotFoundError:
                pass  # forgotten just now
            except OSError:
                return  # that it will be forgotten too early is no reason to start no container now
            else:
                return
        write_whole(self._file(asked), answer.to_bytes())

    def forget(self, *, all_but: Collection[Digest], before: float) -> None:
        """Drops the answers that were last given before a time, and whose lockfile is not among `all_but`.

        These are the lockfiles whose closures are recorded here: without one, no container can start from an answer
        while the registry is away. A younger answer may be of a closure that is on its way.
        """
        with disk_errors("forgetting what the registry last said", self._folder):
            for file in self._folder.glob(_NAMES):
                with suppress(FileNotFoundError):
                    if file.stat().st_mtime < before and _lockfile(file.read_bytes()) not in all_but:
                        file.unlink()

    def _file(self, asked: EnvironmentRef) -> Path:
        return self._folder / f"{Digest.of(str(asked).encode()).hex}.json"


def _lockfile(data: bytes) -> Digest | None:
    try:
        return RegistryEnvironment.parse(data).lockfile
    except RegistryEnvironmentInvalid:
        return None

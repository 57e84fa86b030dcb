"""What FloxHub said of one environment at one commit, and the folder where it is remembered.

Belongs here: reading generations and lockfiles out of a fetched commit, and keeping the newest commit of each
environment over restarts. Does not: asking (`git.py`), or how long an answer is good (`resolver.py`).
"""

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flox_formats.environment import EnvironmentName
from flox_formats.errors import FormatError
from flox_formats.generations import Generation, Generations
from flox_formats.lockfile import Lockfile
from registry_proxy.content.durable import flush_folder, flush_tree, write_whole
from registry_proxy.errors import EnvironmentUnusable, ManifestUnknown, StorageFailed
from registry_proxy.floxhub.git import CommitFiles


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`environment` is spelled as FloxHub spells it, `commit` is 40 hex characters."""

    environment: EnvironmentName
    commit: str
    generations: Generations
    files: CommitFiles

    @classmethod
    def read(cls, environment: EnvironmentName, commit: str, folder: Path) -> "Snapshot":
        """Reads metadata.json of a fetched commit. Blocks. Raises EnvironmentUnusable, FloxHubGarbled."""
        files = CommitFiles(folder, commit)
        metadata = files.read("metadata.json")
        if metadata is None:
            raise EnvironmentUnusable(f"environment {environment} has no metadata.json on FloxHub: push it again")
        try:
            return cls(environment, commit, Generations.parse(metadata), files)
        except FormatError as error:
            raise EnvironmentUnusable(f"environment {environment}: {error}") from error

    def live(self) -> Generation:
        number = self.generations.live
        if number is None:
            raise ManifestUnknown(f"environment {self.environment} has no generation yet: push one (flox push)")
        return self.generation(number)

    def generation(self, number: int) -> Generation:
        found = self.generations.generations.get(number)
        if found is None:
            known = sorted(self.generations.generations)
            which = f"it has {known[0]} to {known[-1]}" if known else "it has none yet"
            raise ManifestUnknown(f"environment {self.environment} has no generation {number}: {which}")
        return found

    def lockfile(self, number: int) -> Lockfile:
        """The lockfile of a generation. Blocks. Raises EnvironmentUnusable, FloxHubGarbled."""
        data = self.files.read(f"{number}/env/manifest.lock")
        if data is None:
            raise EnvironmentUnusable(
                f"generation {number} of {self.environment} has no manifest.lock on FloxHub, so its packages are not "
                "known: change the environment with a current flox, which locks it"
            )
        try:
            return Lockfile.parse(data)
        except FormatError as error:
            raise EnvironmentUnusable(f"generation {number} of {self.environment}: {error}") from error


class Snapshots:
    """`<root>/<owner>/<name>/<commit>/` holds a commit's objects, `current` beside it names the newest one.

    All of it blocks. A crash leaves the old `current` or the new one; what it does not name is swept.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._staging = root, root / ".staging"
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)

    def latest(self, environment: EnvironmentName) -> Snapshot | None:
        """The newest commit that was kept, or None, also where what is on disk is no longer readable.

        A name that differs only by case is found too, if there is just one.
        """
        environment = self._spelled(environment)
        home = self._home(environment)
        with suppress(OSError, EnvironmentUnusable):
            commit = (home / "current").read_text().strip()
            if (home / commit).is_dir():
                return Snapshot.read(environment, commit, home / commit)
        return None

    def new_folder(self) -> Path:
        """An empty folder for a fetch; `keep` or `drop` it."""
        return Path(tempfile.mkdtemp(dir=self._staging))

    def drop(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, environment: EnvironmentName, commit: str, folder: Path) -> Snapshot:
        """Makes a fetched folder the newest commit of its environment. Raises EnvironmentUnusable, StorageFailed."""
        snapshot = Snapshot.read(environment, commit, folder)
        home = self._home(environment)
        try:
            home.mkdir(parents=True, exist_ok=True)
            before = self._current(home)
            flush_tree(folder)
            if not (home / commit).is_dir():
                folder.rename(home / commit)
                flush_folder(home)
            write_whole(home / "current", commit.encode())
            self._sweep(home, keep={commit, before})
        except OSError as error:
            raise StorageFailed(f"cannot keep {environment} in {home}: {error.strerror}: is the disk full?") from error
        return Snapshot(environment, commit, snapshot.generations, CommitFiles(home / commit, commit))

    def _spelled(self, environment: EnvironmentName) -> EnvironmentName:
        if not self._home(environment).is_dir():
            with suppress(OSError):
                names = [entry.name for entry in os.scandir(self._root / environment.owner)]
                alike = [name for name in names if name.lower() == environment.name.lower()]
                if len(alike) == 1:
                    return EnvironmentName(environment.owner, alike[0])
        return environment

    def _home(self, environment: EnvironmentName) -> Path:
        return self._root / environment.owner / environment.name

    def _current(self, home: Path) -> str:
        with suppress(OSError):
            return (home / "current").read_text().strip()
        return ""

    def _sweep(self, home: Path, keep: set[str]) -> None:
        """Removes commits that nobody reads any more: all but the newest and the one before, which may be in use."""
        for entry in os.scandir(home):
            if entry.is_dir() and entry.name not in keep:
                shutil.rmtree(entry.path, ignore_errors=True)

"""What FloxHub said of one environment at one commit.

Belongs here: reading generations and lockfiles out of a fetched commit. Does not: asking (`git.py`), or keeping it over
restarts (`snapshots.py`).
"""

from dataclasses import dataclass
from pathlib import Path

from flox_formats.environment import EnvironmentName
from flox_formats.errors import FormatError
from flox_formats.generations import Generation, Generations
from flox_formats.lockfile import Lockfile
from registry_proxy.errors import EnvironmentUnusable, ManifestUnknown
from registry_proxy.floxhub.git import CommitFiles


@dataclass(frozen=True, slots=True, weakref_slot=True)
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

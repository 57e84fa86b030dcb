"""Which environments of a local FloxHub are private: an empty file for each, in the owner's repository.

Belongs here: the record. Does not: who sees a private environment (`tokens.py`), or how one is hidden
(`view.py`). A file is there or not, so a change is atomic and needs no lock; and a copy of the repository's folder
keeps its secrets. Git takes no notice of the folder.
"""

from enum import StrEnum
from pathlib import Path

from registry_proxy.content.durable import flush_folder
from registry_proxy.hub.repository import HubFailed

_FOLDER = "floxbridge-private"


class Visibility(StrEnum):
    """To whom an environment is shown: to anyone, or to tokens with the right."""

    PUBLIC = "public"
    PRIVATE = "private"


class Privacy:
    """The private environments of one owner. `repository` must exist before something in it can be made private."""

    def __init__(self, repository: Path) -> None:
        self._repository, self._folder = repository, repository / _FOLDER

    def private_names(self) -> frozenset[str]:
        """Raises HubFailed when the record cannot be read: then nobody knows what is public."""
        try:
            return frozenset(path.name for path in self._folder.iterdir())
        except FileNotFoundError:
            return frozenset()
        except OSError as problem:
            raise HubFailed(f"cannot read which environments are private in {self._folder}: {problem.strerror}") from (
                problem
            )

    def set(self, name: str, visibility: Visibility) -> None:
        """On disk when this returns; to make private what is private already changes nothing."""
        try:
            if visibility is Visibility.PRIVATE:
                self._folder.mkdir(exist_ok=True)
                (self._folder / name).touch()
                flush_folder(self._repository)
            else:
                (self._folder / name).unlink(missing_ok=True)
            if self._folder.exists():
                flush_folder(self._folder)
        except OSError as problem:
            raise HubFailed(f"cannot make {name} {visibility} in {self._folder}: {problem.strerror}") from problem

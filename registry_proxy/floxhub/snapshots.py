"""The folder where it is remembered over restarts what FloxHub said: the newest commit of each environment.

Belongs here: who was shown which commit, and when. Does not: what a commit says (`snapshot.py`), or how long an answer
is good (`resolver.py`).
"""

import os
import re
import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

from flox_formats.environment import EnvironmentName
from registry_proxy.content.durable import flush_folder, flush_tree, storage_failed, write_whole
from registry_proxy.errors import CommitLost, EnvironmentUnusable, FloxHubGarbled
from registry_proxy.floxhub.snapshot import Snapshot

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_VIEWERS = 64
"""Credentials remembered for each environment: tokens are renewed, and their pointers would pile up."""
_LOCKS = 64


@dataclass(frozen=True, slots=True)
class Remembered:
    """A snapshot from disk, and how many seconds ago FloxHub confirmed it.

    `since_a_time_to_come`: the clock was set back since; nobody knows how old it is, but that it is, and that the clock
    was wrong by `age_s` at least.
    """

    snapshot: Snapshot
    age_s: float
    since_a_time_to_come: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """What FloxHub answered: the branch stands at `commit`. Its objects are in `folder`, unless they were here already.

    `asked_at`: Unix seconds. An answer is as old as its question.
    """

    commit: str
    folder: Path
    asked_at: float


class Snapshots:
    """`<root>/<owner>/<name>/<commit>/` holds a commit's objects; `current.<viewer>` beside it names the newest one
    that a credential was shown, and was last touched when FloxHub confirmed it.

    All of it blocks, and is safe for threads: two credentials may meet one new commit. A crash leaves the old `current`
    or the new one; what none of them names is swept.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._staging = root, root / ".staging"
        self._locks = tuple(Lock() for _ in range(_LOCKS))
        self._read = WeakValueDictionary[tuple[EnvironmentName, str], Snapshot]()
        try:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir(parents=True)
        except OSError as error:
            raise storage_failed(root, error) from error

    def latest(self, environment: EnvironmentName, viewer: str) -> Remembered | None:
        """The newest commit that `viewer` was shown, or None. What is on disk and unreadable goes, to be fetched again.

        A name that differs only by case is found too, if there is just one.
        """
        environment = self._spelled(environment)
        home = self._home(environment)
        with suppress(OSError), self._lock(environment):
            pointer = home / _pointer(viewer)
            commit = _commit_of(pointer)
            if self.has(environment, commit):
                age_s = time.time() - pointer.stat().st_mtime
                try:
                    return Remembered(self._snapshot(environment, commit), abs(age_s), age_s < 0)
                except (EnvironmentUnusable, FloxHubGarbled, CommitLost):
                    self.drop(home / commit)
        return None

    def has(self, environment: EnvironmentName, commit: str) -> bool:
        return _COMMIT.fullmatch(commit) is not None and (self._home(environment) / commit).is_dir()

    def new_folder(self) -> Path:
        """Where a fetch may make a folder; `keep` or `drop` it."""
        return self._staging / uuid.uuid4().hex

    def drop(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, environment: EnvironmentName, viewer: str, fetched: Fetched, known: Snapshot | None) -> Snapshot:
        """Makes what was fetched the newest that `viewer` was shown.

        `known` is what it was shown before. Raises EnvironmentUnusable, FloxHubGarbled, StorageFailed.
        """
        home, commit = self._home(environment), fetched.commit
        pointer = home / _pointer(viewer)
        try:
            with self._lock(environment):
                here = self.has(environment, commit)
                if here and known is not None and known.commit == commit and _touched(pointer, fetched.asked_at):
                    return known
                if not here:
                    self._move_in(environment, commit, fetched.folder)
                snapshot = self._snapshot_or_drop(environment, commit)
                self._staging.mkdir(parents=True, exist_ok=True)  # an operator may have emptied everything
                if not _is_newer(pointer, fetched.asked_at):
                    write_whole(pointer, commit.encode(), staging=self._staging)
                    _touched(pointer, fetched.asked_at)
                self._sweep(home, keep={commit, known.commit if known else commit})
        except OSError as error:
            raise storage_failed(home, error) from error
        return snapshot

    def _move_in(self, environment: EnvironmentName, commit: str, folder: Path) -> None:
        Snapshot.read(environment, commit, folder)
        home = self._home(environment)
        home.mkdir(parents=True, exist_ok=True)
        flush_tree(folder)
        folder.rename(home / commit)
        flush_folder(home)

    def lose(self, snapshot: Snapshot) -> None:
        """Drops what is left of a commit, some of whose files are gone: it is fetched when it is next asked for."""
        with self._lock(snapshot.environment):
            self._read.pop((snapshot.environment, snapshot.commit), None)
            self.drop(self._home(snapshot.environment) / snapshot.commit)

    def forget(self, environment: EnvironmentName, viewer: str) -> None:
        """FloxHub no longer shows the environment to `viewer`: neither will we after a restart.

        A name that differs only by case is forgotten where `latest` would find it.
        """
        environment = self._spelled(environment)
        with suppress(OSError), self._lock(environment):
            (self._home(environment) / _pointer(viewer)).unlink(missing_ok=True)

    def _snapshot(self, environment: EnvironmentName, commit: str) -> Snapshot:
        """One for all viewers, with the lock: those of a large environment would each take a hundred kilobytes."""
        found = self._read.get((environment, commit))
        if found is None:
            found = Snapshot.read(environment, commit, self._home(environment) / commit)
            self._read[environment, commit] = found
        return found

    def _snapshot_or_drop(self, environment: EnvironmentName, commit: str) -> Snapshot:
        """As `_snapshot`. What is left of a commit whose files are gone goes: it is fetched when next asked for."""
        try:
            return self._snapshot(environment, commit)
        except CommitLost:
            self.drop(self._home(environment) / commit)
            raise

    def _spelled(self, environment: EnvironmentName) -> EnvironmentName:
        if not self._home(environment).is_dir():
            with suppress(OSError):
                names = [entry.name for entry in os.scandir(self._root / environment.owner)]
                alike = [name for name in names if name.lower() == environment.name.lower()]
                if len(alike) == 1:
                    return EnvironmentName(environment.owner, alike[0])
        return environment

    def _lock(self, environment: EnvironmentName) -> Lock:
        """The environment's; a few others may have the same one."""
        return self._locks[hash(environment) % _LOCKS]

    def _home(self, environment: EnvironmentName) -> Path:
        return self._root / environment.owner / environment.name

    def _sweep(self, home: Path, keep: set[str]) -> None:
        """Removes commits that nobody reads: all but the pointers' ones and the one before, which may be in use."""
        pointers = sorted(home.glob("current.*"), key=lambda path: path.stat().st_mtime)
        for pointer in pointers[:-_MAX_VIEWERS]:
            pointer.unlink(missing_ok=True)
        keep = keep | {_commit_of(pointer) for pointer in pointers[-_MAX_VIEWERS:]}
        for entry in os.scandir(home):
            if entry.is_dir() and entry.name not in keep:
                shutil.rmtree(entry.path, ignore_errors=True)


def newest_kept(root: Path, environment: EnvironmentName) -> Snapshot | None:
    """The newest commit that anybody was shown, spelled as asked or but for case. Only reads: a registry may run.

    For whoever may read the files anyway; a request gets what its own credential was shown.
    """
    with suppress(OSError, ValueError, EnvironmentUnusable, FloxHubGarbled):  # ValueError: none, or several
        owners = [it for it in root.iterdir() if it.name.lower() == environment.owner.lower()]
        homes = [it for owner in owners for it in owner.iterdir() if it.name.lower() == environment.name.lower()]
        exact = [it for it in homes if it == root / environment.owner / environment.name]
        (home,) = exact or homes
        pointer = max(home.glob("current.*"), key=lambda path: path.stat().st_mtime)
        commit = _commit_of(pointer)
        return Snapshot.read(EnvironmentName(home.parent.name, home.name), commit, home / commit)
    return None


def _commit_of(pointer: Path) -> str:
    return pointer.read_bytes().decode(errors="replace").strip()


def _is_newer(pointer: Path, asked_at: float) -> bool:
    """Whether it is of a question that was asked later, and answered sooner. Not of one of a time to come."""
    try:
        return asked_at < pointer.stat().st_mtime <= time.time()
    except FileNotFoundError:
        return False


def _touched(pointer: Path, at: float) -> bool:
    """False where there is none. That it cannot be touched only makes it seem older after a restart than it is."""
    try:
        os.utime(pointer, (at, at))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _pointer(viewer: str) -> str:
    return f"current.{viewer}"

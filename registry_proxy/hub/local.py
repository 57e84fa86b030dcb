"""A FloxHub of one's own: environments in bare git repositories, in FloxHub's layout and commit form.

Belongs here: what a push and a switch mean. Running git is in `repository.py`, serving it in `server.py`,
who sees what in `privacy.py` and `tokens.py`.
Source: FH §1.7, §3, §4. A real `flox` and this project's resolver read what is written here, and the other way round.
"""

import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from flox_formats.errors import FormatError
from flox_formats.generations import Generations, GenerationsInvalid, SwitchImpossible
from flox_formats.history import Change
from flox_formats.lockfile import Lockfile
from registry_proxy.hub.privacy import Privacy, Visibility
from registry_proxy.hub.repository import HubError, HubFailed, HubRepository, NewCommit

REPOSITORY = "floxmeta"
DEADLINE_S = 30.0
_METADATA = "metadata.json"

Next = Callable[[Generations], tuple[Generations, NewCommit]]


class HubRefused(HubError):
    """What was asked for cannot be: no such hub, environment or generation, or a file that is not what it should be."""


@dataclass(frozen=True, slots=True)
class HubEnvironment:
    """One environment of a hub. `problem` says why its `generations` cannot be read."""

    environment: EnvironmentName
    visibility: Visibility
    generations: Generations | None
    problem: str | None


def init(root: Path) -> None:
    """Makes an empty hub. One that is there already stays as it is."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise HubRefused(f"cannot make a hub at {root}: {problem.strerror}") from problem


def push(
    root: Path,
    environment: EnvironmentName,
    manifest: bytes | None,
    lock: bytes | None,
    *,
    change: Change,
    private: bool = False,
    deadline_s: float = DEADLINE_S,
) -> int:
    """Makes a new generation of these two files, live from now on; gives its number.

    The first push makes the environment: `private`, so that it is never shown to the wrong people, or public. A later
    one leaves that as it is, or makes it `private`. Of pushes at the same time each gets a number of its own. A
    generation without a `lock` is legal and can be run by nobody; one without a `manifest` can be run, and not edited
    by Flox.
    """
    files = {name: data for name, data in (("manifest.toml", manifest), ("manifest.lock", lock)) if data is not None}
    _check(manifest, lock)

    def create(generations: Generations) -> tuple[Generations, NewCommit]:
        kind = "edit" if generations.history else "import"
        after = generations.with_generation(change, kind=kind)
        number, summary = after.live, after.history[-1].summary
        in_tree = {f"{number}/env/{name}": data for name, data in files.items()}
        return after, NewCommit(f"Create generation {number}\n\n{summary}\n", in_tree, change.timestamp)

    repository = _repository(root, environment, deadline_s)
    repository.create()
    if private:
        _show(root, environment, repository, Visibility.PRIVATE)
    return _advance(repository, environment, create, first=_initialise(environment, change))


def switch(
    root: Path, environment: EnvironmentName, number: int, *, change: Change, deadline_s: float = DEADLINE_S
) -> int:
    """Makes generation `number` the live one. Raises HubRefused when there is none, or it is live already."""

    def go_to(generations: Generations) -> tuple[Generations, NewCommit]:
        after = generations.with_switch(change, number)
        return after, NewCommit(f"{after.history[-1].summary}\n", {}, change.timestamp)

    repository = _repository(root, environment, deadline_s)
    return _advance(repository, environment, go_to, first=None)


def set_visibility(
    root: Path, environment: EnvironmentName, visibility: Visibility, *, deadline_s: float = DEADLINE_S
) -> None:
    """Makes an environment private or public, for requests from now on, with all its generations."""
    repository = _repository(root, environment, deadline_s)
    if repository.tip(environment.name) is None:
        raise _unknown(environment)
    _show(root, environment, repository, visibility)


def environments(root: Path, *, deadline_s: float = DEADLINE_S) -> tuple[HubEnvironment, ...]:
    """What the hub holds, by name. Branches and folders that cannot be environments are passed over."""
    found = []
    for folder in sorted(_root(root).glob(f"*/{REPOSITORY}")):
        repository = HubRepository(folder, deadline=time.monotonic() + deadline_s)
        private = Privacy(folder).private_names()
        for branch, tip in repository.tips().items():
            try:
                environment = EnvironmentName(folder.parent.name, branch)
            except EnvironmentRefInvalid:
                continue
            visibility = Visibility.PRIVATE if branch in private else Visibility.PUBLIC
            found.append(_described(repository, environment, visibility, tip))
    return tuple(sorted(found, key=lambda each: each.environment))


def _described(
    repository: HubRepository, environment: EnvironmentName, visibility: Visibility, tip: str
) -> HubEnvironment:
    try:
        return HubEnvironment(environment, visibility, Generations.parse(repository.read(tip, _METADATA)), None)
    except (GenerationsInvalid, HubFailed) as problem:
        return HubEnvironment(environment, visibility, None, str(problem))


def _check(manifest: bytes | None, lock: bytes | None) -> None:
    """Everything that a reader would refuse later is refused now, while its author is here to mend it."""
    if manifest is None and lock is None:
        raise HubRefused("a generation needs a manifest.toml or a manifest.lock; got neither")
    if manifest is not None:
        try:
            tomllib.loads(manifest.decode())
        except ValueError as problem:
            raise HubRefused(f"manifest: not TOML: {problem}") from problem
        except RecursionError:
            raise HubRefused("manifest: nested too deeply") from None
    if lock is not None:
        try:
            lockfile = Lockfile.parse(lock)
            for system in lockfile.linux_systems():
                lockfile.selected_outputs(system)
        except FormatError as problem:
            raise HubRefused(str(problem)) from problem


def _root(root: Path) -> Path:
    if not root.is_dir():
        raise HubRefused(f"no hub at {root}; make one with: floxbridge hub init --root {root}")
    return root.absolute()


def _repository(root: Path, environment: EnvironmentName, deadline_s: float) -> HubRepository:
    return HubRepository(_root(root) / environment.owner / REPOSITORY, deadline=time.monotonic() + deadline_s)


def _show(root: Path, environment: EnvironmentName, repository: HubRepository, visibility: Visibility) -> None:
    if visibility is Visibility.PRIVATE:
        repository.have_no_default_branch()
    Privacy(_root(root) / environment.owner / REPOSITORY).set(environment.name, visibility)


def _unknown(environment: EnvironmentName) -> HubRefused:
    return HubRefused(f"no environment {environment} in this hub; push it first")


def _initialise(environment: EnvironmentName, change: Change) -> NewCommit:
    subject = f"Initialize generations branch for environment '{environment.name}'"
    return NewCommit(f"{subject}\n", {_METADATA: Generations.empty().to_bytes()}, change.timestamp)


def _advance(repository: HubRepository, environment: EnvironmentName, step: Next, *, first: NewCommit | None) -> int:
    """Takes the next step from wherever the branch stands; again, when somebody else took one meanwhile.

    The repository's deadline ends it. `first` is the commit that begins a branch; without one, the environment must
    exist.
    """
    while True:
        tip = repository.tip(environment.name)
        if tip is None and first is None:
            raise _unknown(environment)
        before = Generations.empty() if tip is None else _read(repository, environment, tip)
        after, commit = _next(environment, before, step)
        commits = [NewCommit(commit.message, {_METADATA: after.to_bytes(), **commit.files}, commit.timestamp)]
        if tip is None and first is not None:
            commits.insert(0, first)
        if repository.append(environment.name, tip, commits):
            assert after.live is not None
            return after.live


def _next(environment: EnvironmentName, before: Generations, step: Next) -> tuple[Generations, NewCommit]:
    try:
        return step(before)
    except (SwitchImpossible, GenerationsInvalid) as problem:
        raise HubRefused(f"environment {environment}: {problem}") from problem


def _read(repository: HubRepository, environment: EnvironmentName, tip: str) -> Generations:
    try:
        return Generations.parse(repository.read(tip, _METADATA))
    except GenerationsInvalid as problem:
        raise HubRefused(f"environment {environment}: {problem}") from problem

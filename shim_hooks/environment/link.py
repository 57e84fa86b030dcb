"""Which files an environment links: the rules of Flox's environment builder, as a plan and without touching a disk.

Belongs here: whose file stands at which place, and who conflicts with whom (FH §6.2). Does not: which outputs are
selected (`flox_formats/outputs.py`), what they bring along (`propagation.py`), writing the plan down
(`environment_directory.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from flox_formats.outputs import SelectedOutput
from flox_formats.store_path import StorePath
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.propagation import package_order, propagated
from shim_hooks.environment.tree import Kind, Place, Tree, resolve
from shim_hooks.errors import ContentRejected, LinkConflict

MAX_ENTRIES = 500_000
"""More than any environment has; packages whose directories are symlinks to each other could ask for any number."""

_PROPAGATED_PRIORITY = 1000
"""What a priority is multiplied with, once, to stand behind; the chosen ones are below it by Flox's convention. With
priority 0 the factor does nothing, in Flox too."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A real directory of the environment, because several packages have something in it."""

    path: str


@dataclass(frozen=True, slots=True)
class Symlink:
    path: str
    target: str


PlannedEntry = Directory | Symlink
"""`path` is relative to the environment. A plan is in such order that a directory comes before what is in it."""


@dataclass(frozen=True, slots=True)
class LinkPlan:
    entries: tuple[PlannedEntry, ...]
    linked: tuple[StorePath, ...]
    """What was linked: the selected outputs and the packages that they propagate."""


def plan_links(
    outputs: Sequence[SelectedOutput], tree: Tree, mode: Mode, *, max_entries: int = MAX_ENTRIES
) -> LinkPlan:
    """`outputs` in the order of the lockfile, each with all that it refers to in `tree`.

    Raises LinkConflict where two packages cannot stand side by side, ContentRejected where the store lacks something.
    """
    merge = _Merge(tree, _names(outputs), max_entries)
    done: dict[StorePath, None] = {}
    postponed: dict[StorePath, int] = {}
    for output in outputs:
        if output.store_path not in done:
            done[output.store_path] = None
            merge.add(output.store_path, output.priority, may_conflict=True)
            postponed |= dict.fromkeys(propagated(tree, output.store_path, mode), output.priority)
    # Behind what propagates them, no two alike. Flox counts on from the outputs that it put behind itself (FH §6.1).
    behind = count(sum(output.priority >= _PROPAGATED_PRIORITY for output in outputs))
    while postponed:
        batch, postponed = postponed, {}
        for path in sorted(batch.keys() - done.keys(), key=package_order):
            done[path] = None
            priority = batch[path] * (_PROPAGATED_PRIORITY if batch[path] < _PROPAGATED_PRIORITY else 1) + next(behind)
            merge.add(path, priority, may_conflict=False)
            postponed |= dict.fromkeys(propagated(tree, path, mode), priority)
    return LinkPlan(merge.plan(), tuple(done))


@dataclass(frozen=True, slots=True)
class _Provided:
    """What one package has at one place. `target` is how the environment would link to it, `place` where that leads."""

    target: str
    place: Place | None
    is_symlink: bool
    package: StorePath
    priority: int

    @property
    def is_directory(self) -> bool:
        return self.place is not None and self.place.kind is Kind.DIRECTORY


@dataclass(slots=True)
class _Merged:
    """A directory that several packages have. `first` is the one that came first, for the words of a conflict."""

    first: _Provided
    children: "_Children" = field(default_factory=dict)


_Children = dict[str, _Provided | _Merged]
_Step = tuple[str, str, _Children, _Provided]
"""Directory and name of a place, where it is kept, and what a package has there."""


class _Merge:
    """The environment so far. Packages are added one after another, and the order matters where priorities do not."""

    def __init__(self, tree: Tree, names: "dict[StorePath, SelectedOutput]", max_entries: int) -> None:
        self._tree, self._names, self._max_entries = tree, names, max_entries
        self._root: _Children = {}
        self._entries = 0

    def add(self, package: StorePath, priority: int, *, may_conflict: bool) -> None:
        place = resolve(self._tree, str(package))
        if place is None or place.kind is None:
            raise ContentRejected(f"{package} is to be linked into the environment, and is not in the node's store")
        if place.kind is not Kind.DIRECTORY:
            raise LinkConflict(
                f"The store path {package} is a file, and only a directory can be linked into an environment. "
                f"Remove {self._name(package)!r} from the environment"
            )
        whole = _Provided(str(package), place, False, package, priority)
        todo = [self._within("", self._root, whole)]
        while todo:  # depth first, so that of several conflicts the one is reported that Flox reports
            place_in = next(todo[-1], None)
            if place_in is None:
                todo.pop()
            else:
                todo += self._put(place_in, may_conflict=may_conflict)

    def plan(self) -> tuple[PlannedEntry, ...]:
        planned: list[PlannedEntry] = []
        todo = [("", self._root)]
        while todo:
            path, children = todo.pop()
            for name, child in sorted(children.items()):
                if isinstance(child, _Merged):
                    planned.append(Directory(f"{path}{name}"))
                    todo.append((f"{path}{name}/", child.children))
                else:
                    planned.append(Symlink(f"{path}{name}", child.target))
        return tuple(planned)

    def _within(self, path: str, into: _Children, provided: _Provided) -> "Iterator[_Step]":
        """What `provided`, a directory at `path` (empty or ending in a slash), has that an environment takes."""
        assert provided.place is not None
        real, links = provided.place.path, provided.place.links
        for name, kind in sorted(self._tree.entries(real).items()):
            if _left_out(path, name):
                continue
            self._entries += 1
            if self._entries > self._max_entries:
                raise ContentRejected(
                    f"{provided.package}: more than {self._max_entries} files would have to be merged with others; "
                    "its directories are links to each other"
                )
            here = f"{real}/{name}"
            is_symlink = kind is Kind.SYMLINK
            place = resolve(self._tree, here, links=links) if is_symlink else Place(here, kind, links)
            target = f"{provided.target}/{name}"
            yield path, name, into, _Provided(target, place, is_symlink, provided.package, provided.priority)

    def _put(self, step: "_Step", *, may_conflict: bool) -> "list[Iterator[_Step]]":
        """Decides one place. Gives the directories that must be merged now, the earlier package's last."""
        path, name, into, new = step
        old = into.get(name)
        if old is None:
            into[name] = new
        elif isinstance(old, _Merged):
            if not new.is_directory:  # Flox ends here, also for what is propagated
                raise self._file_for_directory(old.first, new)
            return [self._within(f"{path}{name}/", old.children, new)]
        elif not old.is_directory and new.priority < old.priority:
            into[name] = new
        elif old.place is not None and new.place is not None and old.place.path == new.place.path:
            if old.is_symlink and not new.is_symlink:
                into[name] = new
        elif not old.is_directory and new.priority > old.priority:
            pass
        elif old.is_directory and new.is_directory:
            merged = into[name] = _Merged(old)
            return [self._within(f"{path}{name}/", merged.children, each) for each in (new, old)]
        elif may_conflict:
            raise self._conflict(old, new)
        return []

    def _conflict(self, old: _Provided, new: _Provided) -> LinkConflict:
        """In Flox's own words (FH §6.2): whoever looks for the sentence finds Flox's help for it."""
        file = new.target.removeprefix(f"{new.package}/")
        one, other = self._names.get(old.package), self._names.get(new.package)
        if one is not None and other is not None and one.install_id == other.install_id:
            return LinkConflict(
                f"'{one.install_id}^{one.output}' conflicts with '{other.install_id}^{other.output}'. "
                f"Both outputs of the same package provide the file '{file}'\n\n"
                f"Resolve by uninstalling one of the conflicting outputs from '{other.install_id}'"
            )
        return LinkConflict(
            f"'{self._name(old.package)}' conflicts with '{self._name(new.package)}'. "
            f"Both packages provide the file '{file}'\n\n"
            "Resolve by uninstalling one of the conflicting packages or setting the priority of the preferred package "
            f"to a value lower than '{old.priority}'"
        )

    def _file_for_directory(self, old: _Provided, new: _Provided) -> LinkConflict:
        """No priority helps here, so the words are ours; Flox only says that something is not a directory."""
        path = new.target.removeprefix(f"{new.package}/")
        return LinkConflict(
            f"'{self._name(old.package)}' conflicts with '{self._name(new.package)}'. "
            f"They provide a directory and a file '{path}'\n\n"
            "Resolve by uninstalling one of the conflicting packages"
        )

    def _name(self, package: StorePath) -> str:
        output = self._names.get(package)
        return output.install_id if output is not None else package.name


def _names(outputs: Iterable[SelectedOutput]) -> dict[StorePath, SelectedOutput]:
    """The same store path under two install ids counts once, as the first one."""
    names: dict[StorePath, SelectedOutput] = {}
    for output in outputs:
        names.setdefault(output.store_path, output)
    return names


def _left_out(directory: str, name: str) -> bool:
    """Whether an environment leaves this out of a directory that it merges; `directory` is empty or ends in a slash."""
    path = f"{directory}{name}"
    return (
        path in ("nix-support", "propagated-build-inputs")
        or path.endswith("info/dir")
        or (path.startswith("share/mime/") and not path.startswith("share/mime/packages"))
        or name in ("perllocal.pod", "log")
    )

"""Which outputs of which packages an environment links, and at which priority.

Belongs here: the rules of FH §6.1. Linking them is the node's work; so is what their files propagate (FH §6.1, end).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flox_formats.locked_package import LockedPackage
from flox_formats.lockfile_errors import LockfileInvalid, OutputUnknown
from flox_formats.manifest import Manifest
from flox_formats.store_path import StorePath

_STUBS = "stubs"  # needed while building, harmful when running; version 1 cannot leave it out by other means
_BEHIND = 1000


@dataclass(frozen=True, slots=True)
class SelectedOutput:
    """A store path to link. `output` is None for a store path package. A lower `priority` wins."""

    install_id: str
    output: str | None
    store_path: StorePath
    priority: int


def select_outputs(manifest: Manifest, packages: Iterable[LockedPackage]) -> tuple[SelectedOutput, ...]:
    """The outputs to link of `packages`, which are those of one system, in file order. Each store path comes once.

    The order within a package is ours where Flox leaves it to chance: a list of names keeps its order, "all" goes by
    output name, and version 1 puts those of `outputs_to_install` first, each group by output name.
    Raises OutputUnknown, LockfileInvalid.
    """
    chosen = _version_1(packages) if manifest.installs_all_outputs else _by_wish(manifest, packages)
    first: dict[StorePath, SelectedOutput] = {}
    for output in chosen:
        first.setdefault(output.store_path, output)
    return tuple(first.values())


def _version_1(packages: Iterable[LockedPackage]) -> Iterator[SelectedOutput]:
    """Every output but stubs. Those that nobody asked for come behind, each at a priority of its own: no conflicts.

    Flox reads an absent `outputs_to_install` as an empty one here.
    """
    counter = 0
    for package in packages:
        if package.store_path is not None:
            yield _store_path(package, package.store_path)
            continue
        asked_for = set(package.outputs_to_install or ())
        names = sorted(package.outputs.keys() - {_STUBS})
        yield from (_output(package, name, package.priority) for name in names if name in asked_for)
        for name in names:
            if name not in asked_for:
                yield _output(package, name, _BEHIND * package.priority + counter)
                counter += 1


def _by_wish(manifest: Manifest, packages: Iterable[LockedPackage]) -> Iterator[SelectedOutput]:
    for package in packages:
        if package.store_path is not None:
            yield _store_path(package, package.store_path)
        else:
            yield from (_output(package, name, package.priority) for name in _wished(manifest, package))


def _wished(manifest: Manifest, package: LockedPackage) -> Iterable[str]:
    wish = manifest.install[package.install_id].outputs
    if wish == "all":
        return sorted(package.outputs)
    names = package.outputs_to_install if wish is None else wish
    if names is None:
        raise LockfileInvalid(
            f"lockfile: package {package.install_id!r} for {package.system} does not say which outputs to install; "
            f"set install.{package.install_id}.outputs in the manifest, or lock the environment again"
        )
    for name in names:
        if name not in package.outputs:
            raise OutputUnknown(
                f"lockfile: package {package.install_id!r} for {package.system} has no output named {name[:100]!r}; "
                f"it has {', '.join(sorted(package.outputs))[:300]}: mend install.{package.install_id}.outputs"
            )
    return names


def _output(package: LockedPackage, name: str, priority: int) -> SelectedOutput:
    return SelectedOutput(package.install_id, name, package.outputs[name], priority)


def _store_path(package: LockedPackage, path: StorePath) -> SelectedOutput:
    return SelectedOutput(package.install_id, None, path, package.priority)

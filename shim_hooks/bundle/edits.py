"""The edits that put a container into its environment. Each is pure: specification in, specification out.

Belongs here: what is changed, and in which order. Does not: finding out what to set (`environment/activation.py`), or
the file (`file.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flox_formats.store_path import STORE_DIR
from shim_hooks.bundle.pinned import MARK, PinnedGeneration
from shim_hooks.bundle.process_env import replaced, without_ours
from shim_hooks.bundle.spec import Mount, Spec
from shim_hooks.environment.activation import ActivationScript, Role
from shim_hooks.store.container_stores import MutableStore


@dataclass(frozen=True, slots=True)
class OwnStore:
    """The store paths that an image brings itself, and what hides those of them that the environment has, too."""

    path: Path
    hidden: Path | None


@dataclass(frozen=True, slots=True)
class Placement:
    """What to put the container into. `folders` are the node's of store paths, the first above the next, `own` the
    image's.

    `script` is what runs the command; None where nothing needs to. `mutable` is where the container's own changes of
    the store go; None where it may make none.
    """

    generation: PinnedGeneration
    folders: tuple[Path, ...]
    variables: Mapping[str, str]
    removed_variables: frozenset[str]
    rootfs_has_tmp: bool
    script: ActivationScript | None
    mutable: MutableStore | None
    own: OwnStore | None


def apply_edits(spec: Spec, placement: Placement) -> Spec:
    """All of `EDITS`, in order. A bundle that bears this placement's mark comes back as it is."""
    if spec.annotations.get(MARK) == placement.generation.to_mark():
        return spec
    for edit in EDITS:
        spec = edit(spec, placement)
    return spec


def take_our_variables_out(spec: Spec, placement: Placement) -> Spec:
    return spec.with_env(without_ours(spec.env))


def mount_the_store(spec: Spec, placement: Placement) -> Spec:
    """Last, so that no other mount covers it; below it there is none, or the decision would have refused."""
    if len(placement.folders) == 1 and placement.mutable is None and placement.own is None:
        options = ("rbind", "rprivate", "ro", "nosuid", "nodev")
        store = Mount(STORE_DIR, "bind", str(placement.folders[0]), options)
    else:
        store = Mount(STORE_DIR, "overlay", "overlay", ("nosuid", "nodev", *_layers(placement)))
    return spec.without_mount(STORE_DIR).with_mounts(last=[store])


def _layers(placement: Placement) -> Iterator[str]:
    """The node's store lies over the image's own, so that nothing of an image stands in the environment's place."""
    own = placement.own
    lower = [*placement.folders, *(() if own is None else (own.hidden, own.path))]
    yield "lowerdir=" + ":".join(str(layer) for layer in lower if layer is not None)
    if placement.mutable is None:
        yield "ro"
    else:
        yield f"upperdir={placement.mutable.upper}"
        yield f"workdir={placement.mutable.work}"


def set_environment(spec: Spec, placement: Placement) -> Spec:
    return spec.with_env(replaced(spec.env, new=placement.variables, removed=placement.removed_variables))


def run_through_activation(spec: Spec, placement: Placement) -> Spec:
    """With a place for what it changes, which is read by those who join the container. Its user's own: a hook may
    export secrets. It is mounted in the store, behind it: a volume at `/run`, say, may be read-only, or the node's own
    folder. A container without a command is left to the runtime, which says so better."""
    script = placement.script
    if script is None or not spec.args:
        return spec
    uid, gid = spec.user
    options = ("nosuid", "nodev", "noexec", "mode=0700", f"uid={uid}", f"gid={gid}", "size=16m")
    record = Mount(script.record, "tmpfs", "tmpfs", options)
    return spec.with_args([*script.arguments(Role.FIRST), *spec.args]).with_mounts(last=[record])


def provide_tmp(spec: Spec, placement: Placement) -> Spec:
    """FLOX_ENV_CACHE is /tmp, and many programs expect it. First, so that a volume below it is not covered."""
    if placement.rootfs_has_tmp or "/tmp" in spec.mount_points:
        return spec
    return spec.with_mounts(first=[Mount("/tmp", "tmpfs", "tmpfs", ("nosuid", "nodev", "mode=1777"))])


def leave_the_mark(spec: Spec, placement: Placement) -> Spec:
    return spec.with_annotation(MARK, placement.generation.to_mark())


EDITS: tuple[Callable[[Spec, Placement], Spec], ...] = (
    take_our_variables_out,
    mount_the_store,
    set_environment,
    run_through_activation,
    provide_tmp,
    leave_the_mark,
)

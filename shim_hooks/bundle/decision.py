"""What a container gets: the table of design 8.2, from its specification alone.

Belongs here: which environment, which generation, or why none. Does not: asking what is live, or changing anything.
"""

from dataclasses import dataclass

from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.store_path import STORE_DIR
from shim_hooks.bundle.annotations import (
    ENVIRONMENT,
    PREFIX,
    SKIP_CONTAINERS,
    Container,
    PodWishes,
    skipped_containers,
)
from shim_hooks.bundle.pinned import MARK, VARIABLES, PinnedGeneration
from shim_hooks.bundle.process_env import variables
from shim_hooks.bundle.spec import Spec
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Wanted
from shim_hooks.errors import Refused


@dataclass(frozen=True, slots=True)
class Untouched:
    """Runs as if the runtime had been called directly. `reason` is for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class InEnvironment:
    """Runs in what is `wanted`. `warnings` are for the log: nothing is wrong enough to stop the container."""

    wanted: Wanted
    exec_too: bool
    nix_mutable: bool
    warnings: tuple[str, ...]


Decision = Untouched | InEnvironment


def decide(spec: Spec) -> Decision:
    """Raises Refused for a pod that asks for what cannot be."""
    container = Container.of(spec.annotations)
    if container.is_sandbox:
        return Untouched("the pod's sandbox")
    if container.name in skipped_containers(spec.annotations):
        return Untouched(f"listed in {SKIP_CONTAINERS}")
    if container.is_of_podman and not _asks(spec):
        return Untouched("a container of podman's that asks for no environment")
    wishes = PodWishes.parse(spec.annotations)
    return InEnvironment(
        wanted=_wanted(spec, container, wishes),
        exec_too=container.name not in wishes.skip_containers_exec,
        nix_mutable=wishes.nix_mutable,
        warnings=tuple(f"annotation {key} is not one that floxbridge knows" for key in wishes.unknown),
    )


def _asks(spec: Spec) -> bool:
    """Whether anything in it is meant for us. podman has no runtime class by which a person would have asked, and by
    nothing does it mark the container that holds a pod's namespaces."""
    annotated = any(key == MARK or key.startswith(PREFIX) for key in spec.annotations)
    return annotated or not variables(spec.env).keys().isdisjoint(VARIABLES)


def _wanted(spec: Spec, container: Container, wishes: PodWishes) -> Wanted:
    marked = PinnedGeneration.of_mark(spec.annotations)
    if marked is not None:
        return _exactly(marked, wishes.mode)
    _refuse_foreign_store(spec)
    image = PinnedGeneration.of_image(variables(spec.env))
    if wishes.environment is not None:
        return _annotated(wishes.environment, image, wishes.mode)
    if image is not None:
        return _exactly(image, wishes.mode)
    raise Refused(
        f"{container} names no Flox environment: set the annotation {ENVIRONMENT}: owner/name on the pod, or use an "
        f"image flox/empty/<owner>/<name>:live, or list the container in {SKIP_CONTAINERS}"
    )


def _annotated(ref: EnvironmentRef, image: PinnedGeneration | None, mode: Mode) -> Wanted:
    if image is None:
        return Wanted(ref.environment, ref.generation, None, mode)
    if image.environment != ref.environment:
        raise Refused(_two_environments(ref.environment, image.environment))
    if ref.generation in (None, image.generation):
        return _exactly(image, mode)
    return Wanted(ref.environment, ref.generation, None, mode)


def _two_environments(annotated: EnvironmentName, image: EnvironmentName) -> str:
    return (
        f"the annotation {ENVIRONMENT} names {annotated} and the image is {image}: change one of them, "
        f"or use the image flox/empty:1.0.0, which leaves the choice to the annotation"
    )


def _exactly(pinned: PinnedGeneration, mode: Mode) -> Wanted:
    return Wanted(pinned.environment, pinned.generation, pinned.lockfile, mode)


def _refuse_foreign_store(spec: Spec) -> None:
    for place in spec.mount_points:
        if place == STORE_DIR or place.startswith(STORE_DIR + "/"):
            raise Refused(
                f"the pod mounts a volume of its own at {place}, where the environment's packages go: "
                "mount it elsewhere, or list the container in " + SKIP_CONTAINERS
            )

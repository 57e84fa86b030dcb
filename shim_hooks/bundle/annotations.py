"""Annotations: what a pod asks of floxbridge, and what the container runtime says about the container.

Belongs here: names, and reading their values. What follows from them is in `decision.py`.
Sources: FH §2 end and Flox's documentation of Imageless Kubernetes for `flox.dev/…`; containerd's
`internal/cri/annotations` and CRI-O's `pkg/annotations` for the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from flox_formats.environment import EnvironmentRef, EnvironmentRefInvalid
from shim_hooks.environment.mode import Mode
from shim_hooks.errors import Refused

PREFIX = "flox.dev/"
ENVIRONMENT = PREFIX + "environment"
ACTIVATE_MODE = PREFIX + "activate-mode"
NIX_MUTABLE = PREFIX + "nix-mutable"
SKIP_CONTAINERS = PREFIX + "skip-containers"
SKIP_CONTAINERS_EXEC = PREFIX + "skip-containers-exec"
DISABLE_METRICS = PREFIX + "disable-metrics"
_KNOWN = (ENVIRONMENT, ACTIVATE_MODE, NIX_MUTABLE, SKIP_CONTAINERS, SKIP_CONTAINERS_EXEC, DISABLE_METRICS)

# containerd's name first, then CRI-O's. CRI-O's own ContainerName is made of five parts; kubelet's label is the name.
_CONTAINER_TYPE = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")
_CONTAINER_NAME = ("io.kubernetes.cri.container-name", "io.kubernetes.container.name")
_MANAGER = "io.container.manager"  # podman's, and CRI-O's
_IMAGE_NAME = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName")


@dataclass(frozen=True, slots=True)
class Container:
    """What the runtime says. Outside Kubernetes (docker, podman, ctr) it says nothing: a container without a name."""

    is_sandbox: bool
    is_of_podman: bool
    name: str | None
    image: str | None

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> Self:
        return cls(
            is_sandbox=_first(annotations, _CONTAINER_TYPE) == "sandbox",
            is_of_podman=annotations.get(_MANAGER) == "libpod",
            name=_first(annotations, _CONTAINER_NAME),
            image=_first(annotations, _IMAGE_NAME),
        )

    def __str__(self) -> str:
        """For a sentence: which of the pod's containers, as far as is known."""
        image = "" if self.image is None else f" (image {self.image})"
        return f"this container{image}" if self.name is None else f"container {self.name!r}{image}"


@dataclass(frozen=True, slots=True)
class PodWishes:
    """The pod's `flox.dev/…` annotations. They are the pod's: every container of it has the same ones."""

    environment: EnvironmentRef | None
    mode: Mode
    nix_mutable: bool
    skip_containers_exec: frozenset[str]
    disable_metrics: bool
    unknown: tuple[str, ...]

    @classmethod
    def parse(cls, annotations: Mapping[str, str]) -> Self:
        """Raises Refused naming the annotation, what it holds and what it may hold."""
        return cls(
            environment=_environment(annotations.get(ENVIRONMENT)),
            mode=_mode(annotations.get(ACTIVATE_MODE, Mode.RUN)),
            nix_mutable=_boolean(annotations, NIX_MUTABLE),
            skip_containers_exec=_names(annotations.get(SKIP_CONTAINERS_EXEC, "")),
            disable_metrics=_boolean(annotations, DISABLE_METRICS),
            unknown=tuple(sorted(key for key in annotations if key.startswith(PREFIX) and key not in _KNOWN)),
        )


def skipped_containers(annotations: Mapping[str, str]) -> frozenset[str]:
    """The containers to leave alone, whatever is wrong with the other annotations."""
    return _names(annotations.get(SKIP_CONTAINERS, ""))


def _first(annotations: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((annotations[name] for name in names if annotations.get(name)), None)


def _environment(text: str | None) -> EnvironmentRef | None:
    if text is None:
        return None
    try:
        return EnvironmentRef.parse(text)
    except EnvironmentRefInvalid as problem:
        raise Refused(f"annotation {ENVIRONMENT}: {problem}") from problem


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError as problem:
        known = " or ".join(Mode)
        raise Refused(f"annotation {ACTIVATE_MODE}: want {known}, got {text[:100]!r}") from problem


def _boolean(annotations: Mapping[str, str], name: str) -> bool:
    text = annotations.get(name, "false")
    if text not in ("true", "false"):
        raise Refused(f'annotation {name}: want "true" or "false", got {text[:100]!r}')
    return text == "true"


def _names(text: str) -> frozenset[str]:
    return frozenset(name for part in text.split(",") if (name := part.strip()))

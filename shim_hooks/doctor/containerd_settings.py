"""containerd's effective configuration, as `containerd config dump` prints it: what concerns Flox containers.

Belongs here: reading both configuration versions, pure. Does not: judging what is read (`containerd_check.py`).
Source: https://github.com/containerd/containerd/blob/main/docs/cri/config.md
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

from flox_formats.errors import FormatError

HANDLER = "flox"
CRI = "io.containerd.grpc.v1.cri"
CRI_RUNTIME = "io.containerd.cri.v1.runtime"
CRI_IMAGES = "io.containerd.cri.v1.images"


class ContainerdSettingsInvalid(FormatError):
    """No TOML, or another shape than containerd's."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One entry of `containerd.runtimes`. `binary` is empty where none is named."""

    runtime_type: str
    pod_annotations: tuple[str, ...]
    container_annotations: tuple[str, ...]
    binary: str
    systemd_cgroup: bool

    @classmethod
    def of(cls, table: Mapping[str, object]) -> Self:
        options = _table(table, "options")
        return cls(
            runtime_type=_text(table, "runtime_type"),
            pod_annotations=_texts(table, "pod_annotations"),
            container_annotations=_texts(table, "container_annotations"),
            binary=_text(options, "BinaryName"),
            systemd_cgroup=options.get("SystemdCgroup") is True,
        )


@dataclass(frozen=True, slots=True)
class ContainerdSettings:
    """`config_paths` are the folders that hold `docker.io/hosts.toml`, the first one that has it counts.

    `plain` is the default handler. `mirrors` are docker.io's endpoints where they are named in the old way, inside the
    configuration. `cri` is false where the plugin that Kubernetes needs is switched off.
    """

    version: int
    cri: bool
    default_handler: str
    flox: Handler | None
    plain: Handler | None
    config_paths: tuple[PurePosixPath, ...]
    mirrors: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ContainerdSettingsInvalid."""
        try:
            document: Mapping[str, object] = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as problem:
            raise ContainerdSettingsInvalid(f"containerd's configuration is no TOML: {problem}") from problem
        version = document.get("version", 1)
        if version not in (2, 3):
            raise ContainerdSettingsInvalid(f"containerd's configuration has version {version!r}; want 2 or 3")
        assert isinstance(version, int)
        plugins = _table(document, "plugins")
        runtime = _table(plugins, CRI if version == 2 else CRI_RUNTIME)
        images = _table(plugins, CRI if version == 2 else CRI_IMAGES)
        containerd, registry = _table(runtime, "containerd"), _table(images, "registry")
        runtimes = _table(containerd, "runtimes")
        default = _text(containerd, "default_runtime_name") or "runc"
        docker = _table(_table(registry, "mirrors"), "docker.io")
        return cls(
            version=version,
            cri=not {"cri", CRI, CRI_RUNTIME, CRI_IMAGES} & set(_texts(document, "disabled_plugins")),
            default_handler=default,
            flox=Handler.of(_table(runtimes, HANDLER)) if HANDLER in runtimes else None,
            plain=Handler.of(_table(runtimes, default)) if default in runtimes else None,
            config_paths=tuple(PurePosixPath(path) for path in _text(registry, "config_path").split(":") if path),
            mirrors=_texts(docker, "endpoint"),
        )


def passes(patterns: tuple[str, ...], annotation: str) -> bool:
    """Whether containerd hands the annotation on: Go's path.Match, whose `*` does not reach across a slash."""
    return any(_matches(pattern, annotation) for pattern in patterns)


def _matches(pattern: str, text: str) -> bool:
    """`*` and `?`; nobody has been seen to use Go's `[a-z]` here, and then the doctor only says too much."""
    ours, theirs = pattern.split("/"), text.split("/")
    return len(ours) == len(theirs) and all(_part(*pair) for pair in zip(ours, theirs, strict=True))


def _part(pattern: str, text: str) -> bool:
    """Greedy, with one way back, so that its time is bounded whatever the pattern."""
    at = star = 0
    after: int | None = None
    place = 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            after, star, at = at + 1, place, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif after is not None:
            star += 1
            at, place = after, star
        else:
            return False
    return set(pattern[at:]) <= {"*"}


def _table(table: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise ContainerdSettingsInvalid(f"containerd's configuration has no table at {key}")
    return value


def _text(table: Mapping[str, object], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise ContainerdSettingsInvalid(f"containerd's configuration has no text at {key}")
    return value


def _texts(table: Mapping[str, object], key: str) -> tuple[str, ...]:
    return tuple(_each_text(table.get(key), key))


def _each_text(value: object, key: str) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, list):
        raise ContainerdSettingsInvalid(f"containerd's configuration has no list at {key}")
    for member in value:
        if not isinstance(member, str):
            raise ContainerdSettingsInvalid(f"containerd's configuration has no list of texts at {key}")
        yield member

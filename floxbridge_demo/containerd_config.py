"""containerd's config.toml and hosts.toml for a node that runs Flox containers, for each major version. Pure text.

Belongs here: what docs/ tells an operator to write, in the form that this machine's tests have run. Where the files lie
and when is in `containerd.py`.
Source: https://github.com/containerd/containerd/blob/main/docs/cri/config.md and docs/hosts.md
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HANDLER = "flox"
PLAIN_HANDLER = "runc"

_RUNTIME_TYPE = "io.containerd.runc.v2"
_ANNOTATIONS = ["flox.dev/*"]
_V2_CRI = "io.containerd.grpc.v1.cri"
_V3_RUNTIME = "io.containerd.cri.v1.runtime"
_V3_IMAGES = "io.containerd.cri.v1.images"

_Tables = list[tuple[tuple[str, ...], Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class ContainerdPlaces:
    """Where one containerd keeps its things. `snapshotter` is `overlayfs`, or `native` where that cannot be had."""

    root: Path
    state: Path
    socket: Path
    opt: Path
    certs: Path
    runc_root: Path
    config: Path
    snapshotter: str


def config_toml(version: int, places: ContainerdPlaces, *, sandbox_image: str, launcher: Path) -> str:
    """`version` is containerd's major version: 1 takes config version 2 (all of 1.x), from 2 on it is 3."""
    plugins = _plugins_v2(places, sandbox_image) if version < 2 else _plugins_v3(places, sandbox_image)
    cri = _V2_CRI if version < 2 else _V3_RUNTIME
    runtimes = (cri, "containerd", "runtimes")
    tables: _Tables = [
        (("grpc",), {"address": str(places.socket)}),
        *((("plugins", *path), values) for path, values in plugins),
        (("plugins", "io.containerd.internal.v1.opt"), {"path": str(places.opt)}),
        *((("plugins", *path), values) for path, values in _runtime(runtimes, HANDLER, places, str(launcher))),
        *((("plugins", *path), values) for path, values in _runtime(runtimes, PLAIN_HANDLER, places, "runc")),
    ]
    top = {
        "version": 2 if version < 2 else 3,
        "root": str(places.root),
        "state": str(places.state),
        "disabled_plugins": ["io.containerd.nri.v1.nri"],  # its socket has one fixed place for the whole machine
    }
    return _values(top) + "".join(_table(path, values) for path, values in tables)


def _plugins_v2(places: ContainerdPlaces, sandbox_image: str) -> _Tables:
    return [
        ((_V2_CRI,), {"sandbox_image": sandbox_image, "restrict_oom_score_adj": True}),
        ((_V2_CRI, "containerd"), {"snapshotter": places.snapshotter, "default_runtime_name": PLAIN_HANDLER}),
        ((_V2_CRI, "registry"), {"config_path": str(places.certs)}),
    ]


def _plugins_v3(places: ContainerdPlaces, sandbox_image: str) -> _Tables:
    return [
        ((_V3_RUNTIME,), {"restrict_oom_score_adj": True}),
        ((_V3_RUNTIME, "containerd"), {"default_runtime_name": PLAIN_HANDLER}),
        ((_V3_IMAGES,), {"snapshotter": places.snapshotter}),
        ((_V3_IMAGES, "pinned_images"), {"sandbox": sandbox_image}),
        ((_V3_IMAGES, "registry"), {"config_path": str(places.certs)}),
    ]


def _runtime(runtimes: tuple[str, ...], name: str, places: ContainerdPlaces, binary: str) -> _Tables:
    wanted = {
        "runtime_type": _RUNTIME_TYPE,
        "pod_annotations": _ANNOTATIONS,
        "container_annotations": _ANNOTATIONS,
    }
    options = {"BinaryName": binary, "Root": str(places.runc_root)}
    return [((*runtimes, name), wanted), ((*runtimes, name, "options"), options)]


def hosts_toml(registry_url: str, *, upstream: str = "https://registry-1.docker.io") -> str:
    """Sends what is pulled from docker.io to the registry, and to `upstream` what the registry does not have."""
    capabilities = {"capabilities": ["pull", "resolve"], "dial_timeout": "200ms"}
    return _values({"server": upstream}) + _table(("host", registry_url), capabilities)


def _table(path: tuple[str, ...], values: Mapping[str, object]) -> str:
    return f"\n[{'.'.join(map(_toml, path))}]\n{_values(values)}"


def _toml(value: object) -> str:
    """JSON's strings, numbers, booleans and arrays are TOML's, but for surrogate pairs."""
    return json.dumps(value, ensure_ascii=False)


def _values(values: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())

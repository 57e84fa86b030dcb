"""containerd's effective configuration: is there a handler for Flox pods, and is it the launcher.

Belongs here: asking containerd for it, and judging it, which is pure. Its two shapes are in `containerd_settings.py`.
"""

import shutil
from pathlib import Path

from shim_hooks.doctor.containerd_settings import (
    CRI,
    CRI_RUNTIME,
    HANDLER,
    ContainerdSettings,
    ContainerdSettingsInvalid,
    Handler,
    passes,
)
from shim_hooks.doctor.finding import Finding
from shim_hooks.doctor.program import ProgramUnusable, ask

CONTAINERD = "containerd"
ANNOTATION = "flox.dev/environment"
PLACES = (Path("/etc/containerd/config.toml"), Path("/var/lib/rancher/k3s/agent/etc/containerd/config.toml"))
_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/var/lib/rancher/k3s/data/current/bin"
_RUNC_V2 = "io.containerd.runc.v2"


def read_containerd(
    config: Path | None, *, path: str, deadline_s: float
) -> tuple[ContainerdSettings | None, list[Finding]]:
    """The configuration in force, as far as it can be read, and what stood in the way.

    `path` is where programs are looked for; the usual folders and k3s's come after it.
    """
    file = config or next((place for place in PLACES if place.exists()), PLACES[0])
    mend = "name its file with --containerd-config; other runtimes are in docs/node.md"
    program = shutil.which("containerd", path=f"{path}:{_FOLDERS}")
    findings = list[Finding]()
    try:
        if program is None:
            text = file.read_text(encoding="utf-8")
            said = f"there is no program containerd: read {file} itself, without what it imports and the defaults"
            findings.append(Finding.doubtful(CONTAINERD, said, "put containerd into PATH"))
        else:
            text = ask([program, "--config", str(file), "config", "dump"], deadline_s=deadline_s)
        return ContainerdSettings.parse(text), findings
    except ProgramUnusable as problem:
        said = f"containerd does not say how it is configured: {problem}"
        return None, [Finding.doubtful(CONTAINERD, said, "run this as root, or correct what containerd complains of")]
    except (OSError, UnicodeDecodeError) as problem:
        return None, [Finding.doubtful(CONTAINERD, f"no configuration of containerd could be read: {problem}", mend)]
    except ContainerdSettingsInvalid as problem:
        return None, [Finding.bad(CONTAINERD, f"{file}: {problem}", "containerd config migrate")]


def judge(settings: ContainerdSettings, launcher: Path) -> list[Finding]:
    """Pure. `launcher` is what `BinaryName` ought to be."""
    if not settings.cri:
        said = "containerd's plugin for Kubernetes (CRI) is switched off"
        return [Finding.bad(CONTAINERD, said, 'take "cri" out of disabled_plugins')]
    table = handler_table(settings.version)
    if settings.flox is None:
        said = f"containerd has no runtime handler {HANDLER!r}: pods with runtimeClassName flox cannot be created"
        return [Finding.bad(CONTAINERD, said, handler_toml(settings, launcher))]
    bad = [
        Finding.bad(CONTAINERD, said, f"in [{table}]:\n{mend}\nthen: systemctl restart containerd")
        for said, mend in _wrong(settings.flox, settings.plain, launcher)
    ]
    if settings.default_handler == HANDLER:
        said = "the default runtime is the launcher: every pod without an environment is refused, system pods as well"
        bad.append(Finding.bad(CONTAINERD, said, 'default_runtime_name = "runc"'))
    if not bad and not passes(settings.flox.container_annotations, ANNOTATION):
        said = "containerd does not pass a container's own flox.dev annotations on"
        return [Finding.doubtful(CONTAINERD, said, f'in [{table}]:\ncontainer_annotations = ["flox.dev/*"]')]
    said = f"configuration version {settings.version} has the handler {HANDLER}, which runs {settings.flox.binary}"
    return bad or [Finding.good(CONTAINERD, said)]


def _wrong(flox: Handler, plain: Handler | None, launcher: Path) -> list[tuple[str, str]]:
    """What is said of a wrong line, and the right one."""
    wrong = list[tuple[str, str]]()
    if flox.runtime_type != _RUNC_V2:
        wrong.append((f"the handler's runtime_type is {flox.runtime_type!r}", f'runtime_type = "{_RUNC_V2}"'))
    if not passes(flox.pod_annotations, ANNOTATION):
        wrong.append(("containerd keeps the pods' flox.dev annotations to itself", 'pod_annotations = ["flox.dev/*"]'))
    if not flox.binary:
        wrong.append(("the handler names no BinaryName, so plain runc is run", f'options.BinaryName = "{launcher}"'))
    elif Path(flox.binary) != launcher:
        said = f"the handler runs {flox.binary} and not the launcher {launcher}"
        wrong.append((said, f'options.BinaryName = "{launcher}"'))
    if plain is not None and plain.systemd_cgroup != flox.systemd_cgroup:
        right = str(plain.systemd_cgroup).lower()
        said = f"SystemdCgroup is {str(flox.systemd_cgroup).lower()} for flox and {right} for the node's own runtime"
        wrong.append((said, f"options.SystemdCgroup = {right}"))
    return wrong


def handler_table(version: int) -> str:
    return f'plugins."{CRI if version == 2 else CRI_RUNTIME}".containerd.runtimes.{HANDLER}'


def handler_toml(settings: ContainerdSettings, launcher: Path) -> str:
    """What is to stand in containerd's configuration."""
    table = handler_table(settings.version)
    systemd = ["  SystemdCgroup = true"] if settings.plain is not None and settings.plain.systemd_cgroup else []
    return "\n".join(
        [
            f"[{table}]",
            f'  runtime_type = "{_RUNC_V2}"',
            '  pod_annotations = ["flox.dev/*"]',
            '  container_annotations = ["flox.dev/*"]',
            f"[{table}.options]",
            f'  BinaryName = "{launcher}"',
            *systemd,
        ]
    )

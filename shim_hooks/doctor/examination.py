"""`floxbridge-node doctor`: every check in turn, none of which changes anything on the node.

Belongs here: the order, what one check needs of another, how long each may take, and the exit code.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shim_hooks.doctor.containerd_check import judge, read_containerd
from shim_hooks.doctor.finding import Finding, as_json, as_text, healthy
from shim_hooks.doctor.launcher_check import check_launcher
from shim_hooks.doctor.mirror_check import check_mirror
from shim_hooks.doctor.prefetch_check import check_prefetch
from shim_hooks.doctor.registry_check import check_registry
from shim_hooks.doctor.socket_check import check_socket
from shim_hooks.doctor.store_check import check_store
from shim_hooks.settings import Settings

USUAL_LAUNCHER = Path("/usr/local/bin/floxbridge-runc")
_DEADLINE_S = 10.0
"""For each program that is run and each question that is asked."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is looked at. Without a `launcher`, the one that containerd runs; `path` is where programs are found."""

    settings: Settings
    launcher: Path | None
    containerd_config: Path | None
    path: str


def run(node: Node, *, json: bool) -> int:
    """0 when nothing is bad, 1 otherwise."""
    findings = asyncio.run(examine(node))
    print(as_json(findings) if json else as_text(findings))
    return 0 if healthy(findings) else 1


async def examine(node: Node) -> list[Finding]:
    settings = node.settings
    containerd, could_not = await asyncio.to_thread(
        lambda: read_containerd(node.containerd_config, path=node.path, deadline_s=_DEADLINE_S)
    )
    in_containerd = containerd.flox.binary if containerd is not None and containerd.flox is not None else ""
    run_by_it = Path(in_containerd) if in_containerd.startswith("/") else USUAL_LAUNCHER  # a bare name is runc's
    launcher = (node.launcher or run_by_it).absolute()
    findings = check_launcher(launcher, socket=settings.socket, deadline_s=_DEADLINE_S)
    findings += could_not
    if containerd is not None:
        findings += judge(containerd, launcher)
    digest, of_registry = await check_registry(
        settings.registry_url,
        connect_timeout_s=settings.connect_timeout_s,
        deadline_s=max(_DEADLINE_S, settings.lookup_timeout_s),
        now=datetime.now(UTC),
    )
    findings += of_registry
    if containerd is not None:
        findings += await check_mirror(
            containerd, registry_url=settings.registry_url, ours=digest, deadline_s=_DEADLINE_S
        )
    findings += await asyncio.to_thread(lambda: check_prefetch(settings.containerd_socket, deadline_s=_DEADLINE_S))
    return [*findings, *check_socket(settings.socket), *check_store(settings.state_dir)]

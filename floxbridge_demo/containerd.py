"""A containerd of one's own: all of its files, sockets, mounts and control groups are a workplace's.

Belongs here: finding the binaries, starting, stopping. What the configuration says is in `containerd_config.py`, how
pods are asked for in `cri.py`, what a killed one leaves in `leftovers.py`.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from floxbridge_demo.busybox import static_busybox
from floxbridge_demo.containerd_config import ContainerdPlaces, config_toml, hosts_toml
from floxbridge_demo.cri import Cri, CriFailed
from floxbridge_demo.leftovers import CONTAINERD_STATE, RUNC_ROOT
from floxbridge_demo.machine import may_mount
from floxbridge_demo.program import Program, ProgramFailed
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE, sandbox_image_archive
from floxbridge_demo.workplace import Workplace

_START_S = 30.0
_QUICK_S = 10.0


@dataclass(frozen=True, slots=True)
class ContainerdBinaries:
    """A folder with containerd, its shim and ctr, and what version that is."""

    folder: Path
    version: tuple[int, int, int]

    @classmethod
    def find(cls, folder: Path | None = None) -> Self | None:
        """In `folder`, or the system's. None when containerd is not there or cannot be run on this machine."""
        found = shutil.which("containerd", path=None if folder is None else str(folder))
        if found is None:
            return None
        told = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=_QUICK_S, check=False)
        version = re.search(r" v?(\d+)\.(\d+)\.(\d+)", told.stdout)
        if version is None:
            return None
        major, minor, patch = map(int, version.groups())
        return cls(Path(found).parent, (major, minor, patch))

    def __str__(self) -> str:
        return f"containerd {'.'.join(map(str, self.version))}"


def why_no_containers() -> str | None:
    """What stands in the way of containers on this machine, for a person, or None."""
    if os.geteuid() != 0:
        return "this user is not root, and containers need mounts and namespaces: run it with sudo"
    if not may_mount():
        return "root may not mount anything here (no CAP_SYS_ADMIN), as in a container that is not privileged"
    if ContainerdBinaries.find() is None:
        return "containerd is not installed: Debian has it in the package containerd"
    if shutil.which("runc") is None:
        return "runc is not installed: Debian has it in the package runc"
    return None


@dataclass(frozen=True, slots=True)
class Containerd:
    """A containerd that runs. Pods go through `cri`."""

    binaries: ContainerdBinaries
    places: ContainerdPlaces
    program: Program
    cri: Cri

    def ctr(self, *arguments: str, namespace: str = "k8s.io") -> str:
        """containerd's own client, in the namespace of Kubernetes. Gives what it printed; raises ProgramFailed."""
        command = [str(self.binaries.folder / "ctr"), "-a", str(self.places.socket), "-n", namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)
        if done.returncode != 0:
            raise ProgramFailed(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def running_containerd(
    binaries: ContainerdBinaries,
    workplace: Workplace,
    *,
    registry_url: str,
    launcher: Path,
    before: Sequence[str] = (),
) -> Iterator[Containerd]:
    """A containerd whose docker.io is the registry and whose handler `flox` is the launcher, with no pods in it.

    `before` is what it is run by, as words before its own. Raises BusyboxMissing, ProgramFailed. At the end the pods go
    first: a containerd that ends leaves them running, as it should on a node.
    """
    busybox = static_busybox()
    places = _places(workplace)
    _write_configuration(binaries, places, registry_url=registry_url, launcher=launcher)
    with _started(binaries, places, workplace, before) as program, Cri(places.socket) as cri:
        _wait_until_up(program, cri)
        containerd = Containerd(binaries, places, program, cri)
        archive = workplace.path("containerd", "sandbox.tar")
        archive.write_bytes(sandbox_image_archive(busybox))
        containerd.ctr("images", "import", "--snapshotter", places.snapshotter, str(archive))
        try:
            yield containerd
        finally:
            with suppress(CriFailed):  # what cannot be removed here is found again by the workplace's sweep
                for pod in cri.pods():
                    cri.remove_pod(pod)


def _places(workplace: Workplace) -> ContainerdPlaces:
    home = workplace.folder / "containerd"
    return ContainerdPlaces(
        root=home / "root",
        state=workplace.folder / CONTAINERD_STATE,
        socket=workplace.folder / "containerd.sock",
        opt=home / "opt",
        certs=home / "certs.d",
        runc_root=workplace.folder / RUNC_ROOT,
        snapshotter=_snapshotter(home / "probe"),
        config=home / "config.toml",
    )


def _write_configuration(
    binaries: ContainerdBinaries, places: ContainerdPlaces, *, registry_url: str, launcher: Path
) -> None:
    hosts = places.certs / "docker.io" / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(hosts_toml(registry_url, upstream=registry_url))
    config = config_toml(binaries.version[0], places, sandbox_image=SANDBOX_IMAGE, launcher=launcher)
    places.config.write_text(config)


def _started(
    binaries: ContainerdBinaries, places: ContainerdPlaces, workplace: Workplace, before: Sequence[str]
) -> Program:
    environment = workplace.environment
    # containerd looks for its shim in PATH before it looks beside itself
    environment["PATH"] = f"{binaries.folder}:{environment.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    command = [*before, str(binaries.folder / "containerd"), "--config", str(places.config)]
    return Program("containerd", command, log=workplace.path("logs", "containerd.log"), environment=environment)


def _wait_until_up(program: Program, cri: Cri) -> None:
    try:
        cri.version(deadline_s=_START_S)
    except CriFailed as error:
        raise ProgramFailed(f"containerd does not answer: {error}\n{program.log_end()}") from error


def _snapshotter(probe: Path) -> str:
    """`overlayfs` where an overlay can be mounted: not on top of another overlay, as in a container."""
    lower, upper, work, merged = (probe / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower, upper, work, merged):
        folder.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
    if subprocess.run(mount, capture_output=True, timeout=_QUICK_S, check=False).returncode != 0:
        return "native"
    subprocess.run(["umount", str(merged)], capture_output=True, timeout=_QUICK_S, check=True)
    return "overlayfs"

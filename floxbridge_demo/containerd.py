"""A containerd of one's own: all of its files, sockets, mounts and control groups are a workplace's.

Belongs here: finding the binaries, starting, stopping. What the configuration says is in `containerd_config.py`, how
pods are asked for in `cri.py`, what a killed one leaves in `leftovers.py`.
"""

import os
import re
import shutil
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from floxbridge_demo.containerd_config import ContainerdPlaces, config_toml, hosts_toml
from floxbridge_demo.cri import Cri, CriFailed
from floxbridge_demo.leftovers import CONTAINERD_STATE, RUNC_ROOT
from floxbridge_demo.program import Program, ProgramFailed
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE, sandbox_image_archive
from floxbridge_demo.workplace import Workplace

_START_S = 30.0
_QUICK_S = 10.0
_BUSYBOX = "busybox"


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


class Containerd:
    """Running from construction to `stop`. Pods go through `cri`."""

    def __init__(
        self, binaries: ContainerdBinaries, workplace: Workplace, *, registry_url: str, launcher: Path
    ) -> None:
        self._workplace = workplace
        self._binaries = binaries
        home = workplace.folder / "containerd"
        self.places = ContainerdPlaces(
            root=home / "root",
            state=workplace.folder / CONTAINERD_STATE,
            socket=home / "containerd.sock",
            opt=home / "opt",
            certs=home / "certs.d",
            runc_root=workplace.folder / RUNC_ROOT,
            snapshotter=_snapshotter(workplace.path("containerd", "probe")),
        )
        self._write_configuration(registry_url, launcher)
        with ExitStack() as undo:
            self._program = undo.enter_context(self._start())
            self.cri = undo.enter_context(Cri(self.places.socket))
            self.version = self._wait_until_up()
            self._import_sandbox_image()
            self._undo = undo.pop_all()

    def stop(self) -> None:
        """Pods first: a containerd that ends leaves its containers running, as it should on a node."""
        with suppress(CriFailed):  # what cannot be removed here is found again by the workplace's sweep
            for pod in self.cri.pods():
                self.cri.remove_pod(pod)
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def ctr(self, *arguments: str) -> str:
        """containerd's own client, in the namespace of Kubernetes. What it printed."""
        command = [str(self._binaries.folder / "ctr"), "-a", str(self.places.socket), "-n", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)
        if done.returncode != 0:
            raise ProgramFailed(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _write_configuration(self, registry_url: str, launcher: Path) -> None:
        hosts = self.places.certs / "docker.io" / "hosts.toml"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(hosts_toml(registry_url, upstream=registry_url))
        config = config_toml(self._binaries.version[0], self.places, sandbox_image=SANDBOX_IMAGE, launcher=launcher)
        self._config.write_text(config)

    @property
    def _config(self) -> Path:
        return self._workplace.path("containerd", "config.toml")

    def _start(self) -> Program:
        environment = self._workplace.environment()
        # containerd looks for its shim in PATH before it looks beside itself
        environment["PATH"] = f"{self._binaries.folder}:{environment.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        command = [str(self._binaries.folder / "containerd"), "--config", str(self._config)]
        return Program(
            "containerd", command, log=self._workplace.path("logs", "containerd.log"), environment=environment
        )

    def _wait_until_up(self) -> str:
        try:
            return self.cri.version(deadline_s=_START_S)
        except CriFailed as error:
            raise ProgramFailed(f"{self._binaries} does not answer: {error}\n{self._program.log_end()}") from error

    def _import_sandbox_image(self) -> None:
        busybox = shutil.which(_BUSYBOX)
        if busybox is None:
            raise ProgramFailed("busybox is not installed: Debian's busybox-static has it")
        archive = self._workplace.path("containerd", "sandbox.tar")
        archive.write_bytes(sandbox_image_archive(Path(busybox)))
        self.ctr("images", "import", "--snapshotter", self.places.snapshotter, str(archive))


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

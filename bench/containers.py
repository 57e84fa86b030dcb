"""Containers of one bundle, one after the other: what containerd asks of a runtime, and how long that takes.

Belongs here: the bundle as containerd would write it, making and deleting. Which side is measured, and what is in the
bundle, is the benchmarks'.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Self

from bench.benchmark import BenchmarkFailed, find_program
from bench.stopwatch import timed
from floxbridge_demo.busybox import static_busybox
from floxbridge_demo.workplace import Workplace

_PATH = "PATH=/bin"
COMMAND = ("/bin/busybox", "true")
"""What a bundle's container runs."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`config` is what `write` writes; a runtime's shim may have edited the file since."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def make(cls, folder: Path) -> Self:
        """With a root file system like the environment images', and a busybox to run. `folder` is made."""
        rootfs = folder / "rootfs"
        for name in ("bin", "etc", "nix/store", "run", "tmp", "proc", "dev", "sys"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(static_busybox(), rootfs / "bin" / "busybox")
        subprocess.run([find_program("runc") or "runc", "spec"], cwd=folder, check=True, timeout=10)
        config = json.loads((folder / "config.json").read_text())
        config["process"].update(terminal=False, args=list(COMMAND), env=[_PATH])
        return cls(folder, config)

    def asking(self, env: Sequence[str] = (), annotations: Mapping[str, str] | None = None) -> Self:
        """The same with these variables and annotations, which is how an environment is asked for."""
        process = {**self.config["process"], "env": [_PATH, *env]}
        return replace(self, config={**self.config, "process": process, "annotations": dict(annotations or {})})

    def write(self) -> None:
        (self.folder / "config.json").write_text(json.dumps(self.config))

    def written(self) -> dict[str, Any]:
        """What lies there now."""
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        return config


@dataclass(frozen=True, slots=True)
class Containers:
    """Made and deleted by `program`. Each bundle is written anew before: an edited one leaves nothing to be done."""

    program: str
    root: Path
    log: Path
    numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    def of(cls, program: str, workplace: Workplace) -> Self:
        """What runc keeps of them lies below `run`."""
        return cls(program, workplace.path("run", "runc"), workplace.path("logs", f"{Path(program).name}.log"))

    def create(self, bundle: Bundle) -> float:
        """Seconds until it is made; it is deleted afterwards. Raises BenchmarkFailed."""
        return self._time(bundle, "create", "--pid-file", str(bundle.folder / "pid"))

    def run(self, bundle: Bundle) -> float:
        """Seconds until it was made and started, its command has ended, and it is deleted. Raises BenchmarkFailed."""
        return self._time(bundle, "run")

    def _time(self, bundle: Bundle, *verb: str) -> float:
        bundle.write()
        command = [self.program, "--root", str(self.root)]
        container_id = f"floxbridge-bench-{next(self.numbers)}"  # neither id nor bundle is ever given twice
        place = bundle.folder.with_name(container_id)
        place.symlink_to(bundle.folder)
        try:
            return timed([*command, *verb, "--bundle", str(place), container_id], log=self.log)
        finally:
            timed([*command, "delete", "--force", container_id], log=self.log.with_suffix(".delete"))
            place.unlink()


def mount_memory(workplace: Workplace) -> None:
    """On `run`: bundles and runc's records lie in memory on a node. Sweeping the workplace unmounts it."""
    folder = workplace.path("run")
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "floxbridge-bench", str(folder)], check=True, timeout=10)
    except subprocess.CalledProcessError as error:
        raise BenchmarkFailed("a tmpfs cannot be mounted here, and a node's bundles lie on one") from error

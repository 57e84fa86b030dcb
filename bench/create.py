"""`create` of a container whose environment is on the node: what floxbridge adds to every start.

Plain runc gets the same bundle without an environment. Each bundle is written anew before its create, since a second
create of an edited one would have nothing to do. Bundles and runc's records lie in memory, as under a node's /run.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from bench.benchmark import Benchmark, BenchmarkFailed, Stage, find_program
from bench.closure_cache import Shape, make_closure
from bench.figure import Figure, OverThePeer, Unit
from bench.our_node import realise
from bench.our_registry import ENVIRONMENT, OurRegistry, Upstream, push, running_our_registry
from bench.rounds import in_turn, scaled
from bench.stopwatch import timed
from floxbridge_demo.busybox import static_busybox
from floxbridge_demo.installation import Hub, install_launcher, running_agent
from floxbridge_demo.workplace import Workplace

_ROUNDS = 50
_AT_MOST_S = 0.005
_SHAPE = Shape(paths=300, nar_bytes=8_000_000)  # many paths to lease and to look for; their size does not matter here
_PATH = "PATH=/bin"


@dataclass(frozen=True, slots=True)
class _Bundle:
    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def make(cls, folder: Path, runc: str) -> "_Bundle":
        """With a root file system like the environment images', and a busybox to run."""
        rootfs = folder / "rootfs"
        for name in ("bin", "etc", "nix/store", "tmp", "proc", "dev", "sys"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(static_busybox(), rootfs / "bin" / "busybox")
        subprocess.run([runc, "spec"], cwd=folder, check=True, timeout=10)
        config = json.loads((folder / "config.json").read_text())
        config["process"].update(terminal=False, args=["/bin/busybox", "true"], env=[_PATH])
        return cls(folder, config)

    def write(self, env: list[str], annotations: Mapping[str, str]) -> None:
        process = {**self.config["process"], "env": [_PATH, *env]}
        config = {**self.config, "process": process, "annotations": annotations}
        (self.folder / "config.json").write_text(json.dumps(config))


@dataclass(frozen=True, slots=True)
class _Creates:
    """One container after the other, made and deleted by `program`; only the making is timed."""

    program: str
    root: Path
    bundle: _Bundle
    log: Path
    numbers: Iterator[int] = field(default_factory=count)

    def __call__(self, env: list[str], annotations: Mapping[str, str]) -> float:
        self.bundle.write(env, annotations)
        command = [self.program, "--root", str(self.root)]
        pid_file = str(self.bundle.folder / "pid")
        container_id = f"floxbridge-bench-{next(self.numbers)}"  # kubelet never gives one twice
        create = ["create", "--bundle", str(self.bundle.folder), "--pid-file", pid_file, container_id]
        try:
            return timed([*command, *create], log=self.log)
        finally:
            timed([*command, "delete", "--force", container_id], log=self.log.with_suffix(".delete"))


def _measure(stage: Stage) -> list[Figure]:
    workplace, runc = stage.workplace, find_program("runc") or "runc"
    _mount_memory(workplace.path("run"))
    closure = make_closure(workplace.path("closure"), _SHAPE)
    hub = Hub(workplace)
    push(hub, workplace.path("pushed"), closure.roots)
    key = closure.cache.public_key
    with (
        running_our_registry(workplace, Upstream(hub, closure.cache.url, key)) as registry,
        running_agent(workplace, registry.url, key) as agent,
    ):
        realise(workplace, agent.state, registry.url, key)
        launcher = str(install_launcher(workplace, agent.socket))
        through, plain = (_creates(workplace, program, runc) for program in (launcher, runc))
        from_image = _image_variables(registry)
        by_image, by_annotation, alone = in_turn(
            scaled(_ROUNDS, stage.scale),
            lambda: through(from_image, {}),
            lambda: through([], {"flox.dev/environment": ENVIRONMENT}),
            lambda: plain([], {}),
            warm_up=5,
        )
    bound, peer = OverThePeer(_AT_MOST_S), median(alone)
    return [
        Figure("environment from the image", Unit.SECONDS, median(by_image), peer, bound),
        Figure("by annotation, live asked", Unit.SECONDS, median(by_annotation), peer, bound),
    ]


def _mount_memory(folder: Path) -> None:
    """Sweeping the workplace unmounts it."""
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "floxbridge-bench", str(folder)], check=True, timeout=10)
    except subprocess.CalledProcessError as error:
        raise BenchmarkFailed("a tmpfs cannot be mounted here, and a node's bundles lie on one") from error


def _creates(workplace: Workplace, program: str, runc: str) -> _Creates:
    name = Path(program).name
    bundle = _Bundle.make(workplace.path("run", "bundles", name), runc)
    return _Creates(program, workplace.path("run", "runc"), bundle, workplace.path("logs", f"{name}.log"))


def _image_variables(registry: OurRegistry) -> list[str]:
    """What containerd copies from the image's configuration into a bundle."""
    index = httpx2.get(f"{registry.repository()}/manifests/live").json()
    manifest = httpx2.get(f"{registry.repository()}/manifests/{index['manifests'][0]['digest']}").json()
    config = httpx2.get(f"{registry.repository()}/blobs/{manifest['config']['digest']}").json()
    variables = [entry for entry in config["config"]["Env"] if entry.startswith("FLOXBRIDGE_")]
    if not variables:
        raise BenchmarkFailed(f"the image of {ENVIRONMENT} names no environment")
    return variables


CREATE = Benchmark("create", "launcher and agent before runc against runc alone", _measure, ("git", "runc", "cc"), True)

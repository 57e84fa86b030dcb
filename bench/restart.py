"""A restart after one small package of a large environment changed: pull, create, start, and the end of `true`.

Asked of a containerd of our own, as kubelet asks.
The peer is the same environment rebuilt as an image and pulled from docker-registry: in one layer, as a Dockerfile that
installs packages leaves it, and, which is the best that can be had, with a layer for the changed package alone.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from bench.benchmark import Benchmark, BenchmarkFailed, Stage
from bench.closure_cache import Closure, add_package
from bench.figure import Figure, TimesThePeer, Unit
from bench.our_node import realise
from bench.our_registry import ENVIRONMENT, Upstream, push, running_our_registry
from bench.peer_image import Layer, Packed, push_image, tar_of
from bench.peer_registry import PeerRegistry, running_peer_registry
from bench.rounds import in_turn
from flox_formats.store_path import StorePath
from floxbridge_demo.busybox import static_busybox
from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.containerd_config import HANDLER, PLAIN_HANDLER
from floxbridge_demo.cri import ContainerSpec, Cri, Pod
from floxbridge_demo.installation import Hub, install_launcher, running_agent
from floxbridge_demo.workplace import Workplace

_ROUNDS = 2
_TIMES = 10
_CHANGED_BYTES = 1_000_000
_COMMAND = ("true",)


class _Environment:
    """The large closure, a busybox, and one small package that is another one each time."""

    def __init__(self, closure: Closure, hub: Hub, workplace: Workplace) -> None:
        self.closure, self._hub, self._workplace = closure, hub, workplace
        tree = workplace.path("busybox")
        (tree / "bin").mkdir(parents=True)
        (tree / "bin" / "busybox").write_bytes(static_busybox().read_bytes())
        (tree / "bin" / "busybox").chmod(0o755)
        (tree / "bin" / "true").symlink_to("busybox")
        self.busybox_tree = tree
        self._busybox = closure.cache.add("busybox-1.0", tree).store_path
        self.generation = 0

    def push_next(self) -> StorePath:
        """A new generation. Gives the package that is new in it."""
        self.generation += 1
        changed = add_package(self.closure, f"changed-{self.generation}", _CHANGED_BYTES)
        roots = [*self.closure.roots, self._busybox, changed]
        push(self._hub, self._workplace.path("pushed", str(self.generation)), roots)
        return changed


@dataclass(frozen=True, slots=True)
class _Restarts:
    """Containers in one pod, one after the other."""

    cri: Cri
    pod: Pod
    attempts: "count[int]"

    def time(self, image: str) -> float:
        began = time.perf_counter()
        _, finished = self.cri.run(self.pod, ContainerSpec("web", image, _COMMAND), attempt=next(self.attempts))
        took = time.perf_counter() - began
        if finished.exit_code != 0:
            raise BenchmarkFailed(f"the container of {image} ended with {finished.exit_code}: {finished.message}")
        return took


class _Rebuilt:
    """The environment as images in the peer's registry."""

    def __init__(self, peer: PeerRegistry, environment: _Environment, workplace: Workplace) -> None:
        self._peer, self._environment, self._workplace = peer, environment, workplace
        self._address = peer.url.removeprefix("http://")
        closure = environment.closure
        self._large = Packed.pack(workplace.path("large.tar.gz"), _tar_of_all(environment.busybox_tree, closure))
        self._unchanged = self._large.layer(workplace.path("unchanged.tar.gz"))

    def push(self, changed: StorePath, *, own_layer: bool) -> str:
        """The image's name."""
        kind = "layered" if own_layer else "whole"
        file = self._workplace.path(f"{kind}.tar.gz")
        members = tar_of(self._environment.closure.tree(changed), _place(changed))
        if own_layer:
            small = Packed.pack(self._workplace.path("nothing.gz"), ()).layer(file, members)
            layers: tuple[Layer, ...] = (self._unchanged, small)
        else:
            layers = (self._large.layer(file, members),)
        repository, tag = f"acme/{kind}", changed.name
        push_image(self._peer, repository, tag, layers)
        return f"{self._address}/{repository}:{tag}"


def _tar_of_all(busybox: Path, closure: Closure) -> Iterator[bytes]:
    yield from tar_of(busybox, "")
    for path in closure.paths:
        yield from tar_of(closure.tree(path), _place(path))


def _place(path: StorePath) -> str:
    """In an image, where names are relative to the root."""
    return str(path).lstrip("/")


def _measure(stage: Stage) -> list[Figure]:
    workplace, closure = stage.workplace, stage.closure()
    binaries = ContainerdBinaries.find()
    if binaries is None:
        raise BenchmarkFailed("containerd cannot be run on this machine")
    hub, key = Hub(workplace), closure.cache.public_key
    environment = _Environment(closure, hub, workplace)
    environment.push_next()
    with (
        running_our_registry(workplace, Upstream(hub, closure.cache.url, key)) as registry,
        running_peer_registry(workplace) as peer,
        running_agent(workplace, registry.url, key) as agent,
        running_containerd(
            binaries, workplace, registry_url=registry.url, launcher=install_launcher(workplace, agent.socket)
        ) as containerd,
    ):
        realise(workplace, agent.state, registry.url, key)
        ours, plain = (_restarts(containerd.cri, workplace, handler) for handler in (HANDLER, PLAIN_HANDLER))
        rebuilt = _Rebuilt(peer, environment, workplace)

        def side() -> float:
            environment.push_next()
            registry.wait_for(environment.generation)
            return ours.time(f"flox/empty/{ENVIRONMENT}:live")

        def image(*, own_layer: bool) -> float:
            return plain.time(rebuilt.push(environment.push_next(), own_layer=own_layer))

        side()
        image(own_layer=True)  # a node that ran the image before has the unchanged layer
        whole, us, layered = in_turn(
            _ROUNDS, lambda: image(own_layer=False), side, lambda: image(own_layer=True), warm_up=0
        )
    return [
        Figure("image in one layer", Unit.SECONDS, median(us), median(whole), TimesThePeer(_TIMES)),
        Figure("image with the change in a layer", Unit.SECONDS, median(us), median(layered)),
    ]


def _restarts(cri: Cri, workplace: Workplace, handler: str) -> _Restarts:
    logs = workplace.path("pods", handler)
    pod = cri.run_pod(handler, logs=logs, handler=handler, cgroup_parent=workplace.cgroup)
    return _Restarts(cri, pod, count())


RESTART = Benchmark(
    "restart",
    "a changed environment against its rebuilt image, pulled by containerd",
    _measure,
    ("git", "cc", "containerd", "runc", "docker-registry"),
    root=True,
)

"""A closure onto an empty node: from our registry, against Nix from the binary cache that our registry has it from.

Both take the same paths from the same machine, check each signature and each hash, and unpack. Nix is Debian's, with a
store, a configuration and a cache of its own; it goes over HTTP to nginx, as it would to cache.nixos.org.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.benchmark import Benchmark, BenchmarkFailed, Stage, find_program
from bench.cache_server import serving_folder
from bench.closure_cache import Closure
from bench.figure import Bound, Figure, TimesThePeer, Unit
from bench.our_node import realise
from bench.our_registry import Upstream, push, running_our_registry
from bench.rounds import in_turn, median_of
from bench.stopwatch import timed
from flox_formats.signature import PublicKey
from flox_formats.store_path import StorePath
from floxbridge_demo.installation import Hub
from floxbridge_demo.workplace import Workplace

_ROUNDS = 2
_TIMES = 1.5


@dataclass(frozen=True, slots=True)
class _Seconds:
    """Of our two ways in one round: the registry has the closure already, or has to fetch it first."""

    warm: float
    cold: float


def _measure(stage: Stage) -> list[Figure]:
    workplace, closure = stage.workplace, stage.closure()
    hub = Hub(workplace)
    push(hub, workplace.path("pushed"), closure.roots)
    with serving_folder(workplace, closure.cache.folder) as cache_url:
        upstream = Upstream(hub, cache_url, closure.cache.public_key)
        ours, nix = in_turn(
            _ROUNDS,
            lambda: _ours(workplace, upstream),
            lambda: _of_nix(workplace, upstream.cache_url, upstream.key, closure),
            warm_up=0,
        )
    peer, bound = median_of(nix, lambda it: it.warm), TimesThePeer(_TIMES)
    return [
        _figure("the registry has it", median_of(ours, lambda it: it.warm), peer, bound),
        _figure("the registry fetches it", median_of(ours, lambda it: it.cold), peer, bound),
    ]


def _figure(what: str, ours: float, peer: float, bound: Bound) -> Figure:
    return Figure(what, Unit.SECONDS, ours, peer, bound)


def _ours(workplace: Workplace, upstream: Upstream) -> _Seconds:
    """A registry with nothing, then two nodes with nothing, one after the other."""
    folders = [workplace.path(name) for name in ("cold-registry", "first-node", "second-node")]
    try:
        with running_our_registry(workplace, upstream, state=folders[0].name) as registry:
            cold, warm = (realise(workplace, node, registry.url, upstream.key).seconds for node in folders[1:])
        return _Seconds(warm=warm, cold=cold)
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def _of_nix(workplace: Workplace, cache_url: str, key: PublicKey, closure: Closure) -> _Seconds:
    home = workplace.path("nix")
    (home / "conf").mkdir(parents=True)
    store = home / "store"
    try:
        seconds = timed(
            _nix_copy(cache_url, store, key, closure.roots),
            log=workplace.path("logs", "nix.log"),
            environment={
                **workplace.environment,
                "HOME": str(home),
                "NIX_CONF_DIR": str(home / "conf"),
                "NIX_CONFIG": "experimental-features = nix-command\nbuild-users-group =\n",
            },
        )
        missing = [path for path in closure.paths if not (store / str(path).lstrip("/")).exists()]
        if missing:
            raise BenchmarkFailed(f"nix copied all but {len(missing)} paths")
        return _Seconds(warm=seconds, cold=seconds)
    finally:
        _remove_store(home)


def _nix_copy(cache_url: str, store: Path, key: PublicKey, roots: Sequence[StorePath]) -> list[str]:
    command = [find_program("nix") or "nix", "copy", "--from", cache_url, "--store", str(store)]
    return [*command, "--option", "trusted-public-keys", str(key), *map(str, roots)]


def _remove_store(home: Path) -> None:
    for folder in home.rglob("*"):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)  # Nix takes away the right to write, which matters to all but root
    shutil.rmtree(home)


CLOSURE = Benchmark("closure", "floxbridge-node realise against nix copy", _measure, ("git", "nginx", "nix"))

"""Fifty nodes that start at once, and ask a registry that has nothing for the same closure.

Each asks as `floxbridge-node` does, all of them at the same time: first for what belongs to the closure, then for the
NARs, over as many connections as a node has, the largest first. They throw away what they get. What leaves the binary
cache is nginx's own count.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.benchmark import Benchmark, BenchmarkFailed, Stage
from bench.cache_server import bytes_sent, serving_folder
from bench.downloads import Blob, download_all
from bench.figure import Figure, Limit, Unit
from bench.hub_server import running_hub
from bench.memory_use import resident_peak_bytes
from bench.our_registry import OurRegistry, push, running_with
from floxbridge_demo.installation import Hub

_NODES = 50
_CONNECTIONS = 8  # of each node
_AT_MOST_BYTES = 256_000_000


def _measure(stage: Stage) -> list[Figure]:
    workplace, closure = stage.workplace, stage.closure()
    hub, sent = Hub(workplace), workplace.path("sent")
    push(hub, workplace.path("pushed"), closure.roots)
    with serving_folder(workplace, closure.cache.folder, sent=sent) as cache_url, running_hub(workplace, hub) as flags:
        cache = ("--nix-cache", cache_url, "--trusted-key", str(closure.cache.public_key))
        with running_with(workplace, *flags, *cache, state="registry") as registry:
            blobs = _ask_at_once(registry)
            seconds = download_all(registry.url, blobs, clients=_NODES, connections=_CONNECTIONS)
            resident = resident_peak_bytes(registry.program.pid)
    times = times_sent(bytes_sent(sent.read_text()), closure.cache.folder)
    if len(times) < 2 * len(blobs):
        raise BenchmarkFailed(f"nginx sent {len(times)} files, the closure has {len(blobs)} NARs and as many narinfos")
    in_all = sum(blob.size for blob in blobs)
    return [
        Figure("a file left upstream, times at most", Unit.COUNT, max(times.values()), bound=Limit(1)),
        Figure(f"registry, resident at most, {_NODES} nodes", Unit.BYTES, resident, bound=Limit(_AT_MOST_BYTES)),
        Figure(f"{_NODES} nodes, in all", Unit.BYTES_PER_SECOND, in_all * _NODES / seconds),
    ]


def _ask_at_once(registry: OurRegistry) -> list[Blob]:
    """The closure's NARs, as the first node was told."""
    with ThreadPoolExecutor(_NODES) as nodes:
        documents = [asked.result() for asked in [nodes.submit(registry.closure) for _ in range(_NODES)]]
    repository = registry.repository().removeprefix(registry.url)
    largest_first = sorted(documents[0].paths, key=lambda path: path.blob_size, reverse=True)
    return [Blob(f"{repository}/blobs/{path.blob}", path.blob_size) for path in largest_first]


def times_sent(sent: Mapping[str, int], folder: Path) -> dict[str, float]:
    """How often all bytes of a file left, of those files of `folder` of which any did."""
    sizes = {path: (folder / path).stat().st_size for path in sent if (folder / path).is_file()}
    return {path: sent[path] / size for path, size in sizes.items()}


FIFTY_NODES = Benchmark("fifty-nodes", "floxbridge serve alone, with nothing stored", _measure, ("git", "nginx"))

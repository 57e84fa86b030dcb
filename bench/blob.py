"""A large blob that is on the registry's disk: one client alone, then fifty at once.

Both serve the same file: the NAR of one large package.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.benchmark import Benchmark, Stage
from bench.binary_cache import BinaryCache
from bench.downloads import download
from bench.figure import Figure, Limit, TimesThePeer, Unit
from bench.memory_use import resident_peak_bytes
from bench.our_registry import ENVIRONMENT, Upstream, push, running_our_registry
from bench.peer_registry import running_peer_registry
from bench.rounds import in_turn, scaled
from flox_formats.narinfo import Compression, NarInfo
from floxbridge_demo.installation import Hub
from floxbridge_demo.program import Program

_BLOB_BYTES = 200_000_000
_PIECE_BYTES = 1_000_000
_ROUNDS = 5
_CLIENTS = 50


def _measure(stage: Stage) -> list[Figure]:
    workplace = stage.workplace
    cache = BinaryCache.make(workplace.path("cache"))
    package = _large_package(cache, workplace.path("large"), scaled(_BLOB_BYTES, stage.scale, at_least=_PIECE_BYTES))
    nar, size = cache.folder / package.url, package.nar_size
    hub = Hub(workplace)
    push(hub, workplace.path("pushed"), [package.store_path])
    upstream = Upstream(hub, cache.url, cache.public_key)
    with running_our_registry(workplace, upstream) as ours, running_peer_registry(workplace) as peer:
        ours.closure()  # once it was asked for, the NAR is a blob of the repository
        our_url = f"{ours.repository()}/blobs/{package.file_hash}"
        peer_url = f"{peer.url}/v2/{ENVIRONMENT}/blobs/{peer.push_file(ENVIRONMENT, nar)}"
        us, them = in_turn(
            scaled(_ROUNDS, stage.scale),
            lambda: size / download(our_url, size=size),
            lambda: size / download(peer_url, size=size),
        )
        many, theirs = _many(ours.program, our_url, size), _many(peer.program, peer_url, size)
    at_once = f"{_CLIENTS} streams"
    return [
        Figure("one stream", Unit.BYTES_PER_SECOND, median(us), median(them), TimesThePeer(1)),
        Figure(f"{at_once}, in all", Unit.BYTES_PER_SECOND, many.per_s, theirs.per_s),
        Figure(f"{at_once}, resident at most", Unit.BYTES, many.resident, theirs.resident, Limit(200_000_000)),
    ]


def _large_package(cache: BinaryCache, scratch: Path, size: int) -> NarInfo:
    """A path whose NAR lies in the cache as it is: it could not be made smaller."""
    draw = random.Random(size)
    with scratch.open("wb") as output:
        for _ in range(0, size, _PIECE_BYTES):
            output.write(draw.randbytes(_PIECE_BYTES))
    try:
        return cache.add("large-1.0", scratch, compression=Compression.NONE)
    finally:
        scratch.unlink()


@dataclass(frozen=True, slots=True)
class _Many:
    per_s: float
    resident: int


def _many(program: Program, url: str, size: int) -> _Many:
    seconds = download(url, size=size, clients=_CLIENTS)
    return _Many(size * _CLIENTS / seconds, resident_peak_bytes(program.pid))


BLOB = Benchmark("blob", "floxbridge serve against docker-registry", _measure, ("git", "docker-registry"))

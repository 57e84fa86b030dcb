"""A manifest by tag: what every pull begins with, and what a fleet of kubelets asks over and over.

Both serve the same bytes, to the same wrk, and only one of them is under load at a time.
"""

import httpx2

from bench.benchmark import Benchmark, Stage
from bench.figure import Figure, Limit, TimesThePeer, Unit
from bench.hub_server import running_hub
from bench.load import Load, load
from bench.our_registry import ENVIRONMENT, push, running_with
from bench.peer_registry import ACCEPT, running_peer_registry
from bench.rounds import in_turn, median_of, scaled
from flox_formats.store_path import StorePath
from floxbridge_demo.installation import Hub

_CONNECTIONS = 32
_ROUNDS = 4
_ROUND_S = 3


def _measure(stage: Stage) -> list[Figure]:
    workplace = stage.workplace
    hub = Hub(workplace)
    push(hub, workplace.path("pushed"), [StorePath("0" * 32, "web-1.0")])
    with (
        running_hub(workplace, hub) as flags,
        running_with(workplace, *flags, state="registry") as ours,
        running_peer_registry(workplace) as peer,
    ):
        peer.copy(ours.repository(), ENVIRONMENT, "live")

        def side(url: str) -> Load:
            httpx2.get(url, headers=ACCEPT).raise_for_status()  # an answer that grew old while the other had its turn
            return load(url, connections=_CONNECTIONS, duration_s=_ROUND_S, headers=ACCEPT)

        us, them = in_turn(
            scaled(_ROUNDS, stage.scale),
            lambda: side(f"{ours.repository()}/manifests/live"),
            lambda: side(f"{peer.url}/v2/{ENVIRONMENT}/manifests/live"),
        )
    return [
        Figure(
            "requests, 32 connections",
            Unit.PER_SECOND,
            median_of(us, lambda it: it.per_s),
            median_of(them, lambda it: it.per_s),
            TimesThePeer(10),
        ),
        Figure(
            "99th percentile",
            Unit.SECONDS,
            median_of(us, lambda it: it.p99_s),
            median_of(them, lambda it: it.p99_s),
            Limit(0.005),
        ),
    ]


MANIFEST_BY_TAG = Benchmark(
    "manifest-by-tag", "floxbridge serve against docker-registry", _measure, ("git", "wrk", "docker-registry")
)

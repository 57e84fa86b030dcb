"""What the agent counts of itself, for Prometheus: every metric there is, in a registry of its own.

Belongs here: names, labels, buckets, and what an event adds to them. Does not: when an event happens (`measured.py`),
nor who may ask (`metrics_endpoint.py`). `docs/node.md` tells what to do about each, and a test compares the names. No
label holds the name of an environment: there may be any number, and some are private.
"""

import re
import time
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from shim_hooks.errors import NodeError
from shim_hooks.store.collector import Collected

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_WORD = re.compile(r"(?<!^)(?=[A-Z])")
OK = "ok"


class Metrics:
    """Safe for threads. `clock` is the time of day."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._registry, self._clock = CollectorRegistry(), clock
        self._creates = self._counter("creates", "Creates that the launcher asked for.", "outcome")
        self._execs = self._counter("execs", "Execs that the launcher asked for.", "outcome")
        self._phases = self._histogram("create_duration_seconds", "Of creates that ended well.", "phase")
        self._registry_answers = self._histogram(
            "registry_duration_seconds", "From a question to the registry to its answer.", "question", "outcome"
        )
        self._contact = self._gauge("registry_last_answer_timestamp_seconds", "When the registry last answered.")
        self._prefetches = self._counter("prefetches", "Environments fetched because their image came.", "outcome")
        self._fetched = self._counter("fetched_bytes", "Bytes of store paths fetched, compressed.")
        self._collected = self._counter("collected_bytes", "Bytes that were taken away from the store.")
        self._store = self._gauge("store_bytes", "Size of the store when it was last looked at.")
        self._in_use = self._gauge("store_in_use_bytes", "Of these, bytes that containers use.")
        self._over = self._gauge(
            "store_over_bytes", "By how much the store is too large, with all that is left in use."
        )
        self._gauge("build_info", "1, with the version as a label.", "version").labels(version("floxbridge")).set(1)
        ProcessCollector(registry=self._registry)

    def created(self, outcome: str, seconds: float) -> None:
        self._creates.labels(outcome).inc()
        if outcome == OK:
            self._phases.labels("whole").observe(seconds)

    def realised(self, seconds: float) -> None:
        """The part of a create, or of an exec, in which its environment came to be there."""
        self._phases.labels("realise").observe(seconds)

    def joined(self, outcome: str) -> None:
        self._execs.labels(outcome).inc()

    def registry_answered(self, question: str, outcome: str, seconds: float, *, is_there: bool) -> None:
        """`is_there` is whether it said anything at all, be it no."""
        self._registry_answers.labels(question, outcome).observe(seconds)
        if is_there:
            self._contact.set(self._clock())

    def prefetched(self, outcome: str) -> None:
        self._prefetches.labels(outcome).inc()

    def fetched(self, size: int) -> None:
        self._fetched.inc(size)

    def collected(self, done: Collected) -> None:
        self._collected.inc(done.freed)
        self._store.set(done.size)
        self._in_use.set(done.kept)
        self._over.set(done.excess)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is asked at each scrape: `value` must be quick."""
        self._gauge(name, about).set_function(value)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its content type: the format is the best that `accept` knows."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"floxbridge_node_{name}", about, labels, registry=self._registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"floxbridge_node_{name}", about, labels, registry=self._registry)

    def _histogram(self, name: str, about: str, *labels: str) -> Histogram:
        return Histogram(f"floxbridge_node_{name}", about, labels, buckets=_BUCKETS_S, registry=self._registry)


def outcome_of(problem: NodeError) -> str:
    """The error's class as a label: `registry_unavailable`."""
    return _WORD.sub("_", type(problem).__name__).lower()

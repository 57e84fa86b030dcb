"""What the registry counts of itself, for Prometheus: every metric there is, in a registry of its own.

Belongs here: names, labels, buckets, and what an event adds to them. Does not: when an event happens; whoever makes it
happen is handed this, or a part of it, through its constructor. `docs/operate.md` tells what to do about each, and a
test compares the names. No label holds the name of an environment: there may be any number, and some are private.
"""

import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from registry_proxy.request_metrics import RequestMetrics

_UPSTREAM_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60)
_OUTCOMES = ("fresh", "cached", "stale", "not_found", "failed")
_STALE_WINDOW_S = 60.0
_REFUSALS = (400, 431)


class Resolutions(Collector):
    """How often each outcome was. On the way of every request, so it is a plain number of the event loop's own."""

    def __init__(self) -> None:
        self.count = dict.fromkeys(_OUTCOMES, 0)

    def collect(self) -> Iterator[Metric]:
        counted = CounterMetricFamily(
            "floxbridge_resolutions", "Answers to which generation is meant.", labels=["outcome"]
        )
        for outcome, count in self.count.items():
            counted.add_metric([outcome], count)
        yield counted


class Metrics:
    """Safe for threads, but for `requests`, `resolved` and `exposition`, which belong to the event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = CollectorRegistry()
        self.requests = RequestMetrics()
        self._registry.register(self.requests)
        self._resolutions = Resolutions()
        self._registry.register(self._resolutions)
        self._stale_age = RecentMaximum(_STALE_WINDOW_S, clock)
        Gauge(
            "floxbridge_stale_age_seconds", "Age of the oldest answer served stale of late.", registry=self._registry
        ).set_function(self._stale_age.value)
        self._upstream = Histogram(
            "floxbridge_upstream_duration_seconds",
            "From a question to its answer; of a binary cache, to the answer's headers.",
            ["upstream", "outcome"],
            buckets=_UPSTREAM_BUCKETS_S,
            registry=self._registry,
        )
        malformed = Counter(
            "floxbridge_malformed_requests", "Requests that are no HTTP.", ["status"], registry=self._registry
        )
        self._malformed = {status: malformed.labels(str(status)) for status in _REFUSALS}
        self._received = Counter(
            "floxbridge_upstream_received_bytes", "Body bytes received.", ["upstream"], registry=self._registry
        )
        Gauge("floxbridge_build_info", "1, with the version as a label.", ["version"], registry=self._registry).labels(
            version("floxbridge")
        ).set(1)
        ProcessCollector(registry=self._registry)

    def resolved(self, outcome: str, age_s: float | None) -> None:
        """The question which generation is meant was answered, or not; `age_s` is of an answer served stale."""
        self._resolutions.count[outcome] += 1
        if age_s is not None:
            self._stale_age.note(age_s)

    def upstream_answered(self, upstream: str, outcome: str, seconds: float) -> None:
        """A question of ours to FloxHub or to a binary cache was answered, or failed. All of the words are ours."""
        self._upstream.labels(upstream, outcome).observe(seconds)

    def upstream_sent(self, upstream: str, received_bytes: int) -> None:
        self._received.labels(upstream).inc(received_bytes)

    def malformed(self, status: int) -> None:
        """Somebody sent what is no HTTP request, and was answered so."""
        self._malformed[status].inc()

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is asked at each scrape: `value` must be quick."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its content type: the format is the best that `accept` knows."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class RecentMaximum:
    """The largest value of the last `window_s` to twice that; 0 when there was none. It costs no memory a value."""

    def __init__(self, window_s: float, clock: Callable[[], float]) -> None:
        self._window_s, self._clock = window_s, clock
        self._began, self._now, self._before = clock(), 0.0, 0.0

    def note(self, value: float) -> None:
        self._turn()
        self._now = max(self._now, value)

    def value(self) -> float:
        self._turn()
        return max(self._now, self._before)

    def _turn(self) -> None:
        past = self._clock() - self._began
        if past >= self._window_s:
            self._before = self._now if past < 2 * self._window_s else 0.0
            self._began, self._now = self._began + past, 0.0

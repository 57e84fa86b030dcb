"""The metrics of requests to this registry: how many, how long, how much.

Belongs here: adding up, and what it looks like to Prometheus. They are on the way of every request, so the sums are
plain numbers of the event loop's own, and become metrics when somebody asks for them.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
_BOUNDS = (*map(str, _BUCKETS_S), "+Inf")


class _Sums:
    __slots__ = ("buckets", "requests", "seconds", "sent_bytes")

    def __init__(self) -> None:
        self.requests, self.seconds, self.sent_bytes = 0, 0.0, 0
        self.buckets = [0] * len(_BOUNDS)

    def add(self, other: "_Sums") -> None:
        self.requests += other.requests
        self.seconds += other.seconds
        self.sent_bytes += other.sent_bytes
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]


class RequestMetrics(Collector):
    """For one event loop: neither counting nor collecting is safe for threads."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._sums: dict[tuple[str, str, int], _Sums] = {}

    def answered(self, route: str, method: str, status: int, seconds: float, sent_bytes: int) -> None:
        """`route` and `method` are words of ours: a client must not be able to invent labels."""
        sums = self._sums.get((route, method, status))
        if sums is None:
            sums = self._sums[route, method, status] = _Sums()
        sums.requests += 1
        sums.seconds += seconds
        sums.sent_bytes += sent_bytes
        sums.buckets[bisect_left(_BUCKETS_S, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "floxbridge_requests_in_flight", "Requests whose answer is not over.", value=self.in_flight
        )
        requests = CounterMetricFamily(
            "floxbridge_requests", "Requests answered.", labels=["route", "method", "status"]
        )
        by_route: dict[str, _Sums] = {}
        for (route, method, status), sums in self._sums.items():
            requests.add_metric([route, method, str(status)], sums.requests)
            by_route.setdefault(route, _Sums()).add(sums)
        durations = HistogramMetricFamily(
            "floxbridge_request_duration_seconds",
            "From a request's headers to the end of its answer.",
            labels=["route"],
        )
        sent = CounterMetricFamily("floxbridge_sent_bytes", "Body bytes sent.", labels=["route"])
        for route, sums in by_route.items():
            cumulative = accumulate(sums.buckets)
            durations.add_metric([route], list(zip(_BOUNDS, cumulative, strict=True)), sums.seconds)
            sent.add_metric([route], sums.sent_bytes)
        yield from (requests, durations, sent)

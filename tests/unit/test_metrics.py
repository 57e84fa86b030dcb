"""What is counted, and what it looks like to Prometheus."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from registry_proxy.metrics import Metrics, RecentMaximum

Labels = dict[str, str]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    data, _ = metrics.exposition("")
    found = {
        (one.name, *sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(data.decode())
        for one in family.samples
    }
    return found.get((name, *sorted(labels.items())))


def test_requests_are_counted_by_route_method_and_status_and_timed_by_route() -> None:
    metrics = Metrics()
    metrics.requests.answered("blobs", "GET", 200, 0.02, 100)
    metrics.requests.answered("blobs", "GET", 206, 3, 10)
    metrics.requests.answered("blobs", "HEAD", 200, 10_000, 0)
    assert sample(metrics, "floxbridge_requests_total", route="blobs", method="GET", status="200") == 1
    assert sample(metrics, "floxbridge_requests_total", route="blobs", method="HEAD", status="200") == 1
    assert sample(metrics, "floxbridge_sent_bytes_total", route="blobs") == 110
    name = "floxbridge_request_duration_seconds"
    buckets = {le: sample(metrics, f"{name}_bucket", route="blobs", le=le) for le in ("0.01", "0.025", "5.0", "+Inf")}
    assert buckets == {"0.01": 0, "0.025": 1, "5.0": 2, "+Inf": 3}
    assert sample(metrics, f"{name}_count", route="blobs") == 3
    assert sample(metrics, f"{name}_sum", route="blobs") == pytest.approx(10_003.02)


def test_a_duration_on_a_bound_belongs_below_it() -> None:
    metrics = Metrics()
    metrics.requests.answered("tags", "GET", 200, 0.005, 1)
    assert sample(metrics, "floxbridge_request_duration_seconds_bucket", route="tags", le="0.005") == 1


def test_every_outcome_of_a_resolution_is_there_from_the_start() -> None:
    metrics = Metrics()
    metrics.resolved("stale", 7)
    outcomes = ("fresh", "cached", "stale", "not_found", "failed")
    found = {outcome: sample(metrics, "floxbridge_resolutions_total", outcome=outcome) for outcome in outcomes}
    assert found == {"fresh": 0, "cached": 0, "stale": 1, "not_found": 0, "failed": 0}


def test_the_age_of_stale_answers_goes_when_there_are_none() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    metrics.resolved("stale", 7)
    metrics.resolved("stale", 3)
    assert sample(metrics, "floxbridge_stale_age_seconds") == 7
    clock.now += 120
    assert sample(metrics, "floxbridge_stale_age_seconds") == 0


@pytest.mark.parametrize(
    ("past_s", "value"),
    [
        pytest.param(0, 5, id="at-once"),
        pytest.param(59, 5, id="in-the-same-window"),
        pytest.param(61, 5, id="in-the-next-window"),
        pytest.param(119, 5, id="at-its-end"),
        pytest.param(121, 0, id="after-it"),
        pytest.param(1e9, 0, id="after-ages"),
    ],
)
def test_a_maximum_is_remembered_for_one_to_two_windows(past_s: float, value: float) -> None:
    clock = Clock()
    recent = RecentMaximum(60, clock)
    recent.note(5)
    recent.note(2)
    clock.now += past_s
    assert recent.value() == value


def test_a_watched_value_is_asked_at_each_scrape() -> None:
    metrics, values = Metrics(), iter((1.0, 2.0))
    metrics.watch("floxbridge_something", "For the test.", lambda: next(values))
    assert [sample(metrics, "floxbridge_something"), sample(metrics, "floxbridge_something")] == [1, 2]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param("", "text/plain", id="nothing-said"),
        pytest.param("*/*", "text/plain", id="anything"),
        pytest.param("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", id="openmetrics"),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(accept: str, content_type: str) -> None:
    metrics = Metrics()
    metrics.requests.answered("tags", "GET", 200, 0.005, 1)
    data, found = metrics.exposition(accept)
    assert found.startswith(content_type)
    assert b"floxbridge_requests_total" in data


def test_two_registries_in_one_process_share_nothing() -> None:
    one, two = Metrics(), Metrics()
    one.resolved("fresh", None)
    assert sample(two, "floxbridge_resolutions_total", outcome="fresh") == 0

"""What is counted in plain numbers is what Prometheus' client would have counted itself."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client import Histogram as ClientHistogram

from app.observability.counters import Histogram, Tally

BOUNDS = (0.5, 1, 2)
AMOUNTS = (0.1, 0.5, 0.7, 1.0, 1.5, 2.0, 2.1, 9)


def text(registry: CollectorRegistry) -> list[bytes]:
    """Return what Prometheus would read, but for when each began."""
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


def told_by_the_client() -> list[bytes]:
    registry = CollectorRegistry()
    histogram = ClientHistogram("seconds", "How long.", ("way",), buckets=BOUNDS, registry=registry)
    counter = Counter("requests", "How many.", ("way", "status"), registry=registry)
    gauge = Gauge("queue", "How many there are.", registry=registry)
    for amount in AMOUNTS:
        histogram.labels("a").observe(amount)
        counter.labels("a", "200").inc()
    histogram.labels("b").observe(3)
    counter.labels("a", "200").inc(2.5)
    gauge.inc(3)
    gauge.dec()
    return text(registry)


@pytest.mark.parametrize("times", [1, 3])
def test_the_client_hears_it_all_once_however_often_it_is_told(times: int) -> None:
    registry, tally = CollectorRegistry(), Tally()
    seconds = tally.distributions(Histogram("seconds", "How long.", ("way",), buckets=BOUNDS, registry=registry))
    requests = tally.counts(Counter("requests", "How many.", ("way", "status"), registry=registry))
    queue = tally.counts(Gauge("queue", "How many there are.", registry=registry))()
    for amount in AMOUNTS:
        seconds("a").observe(amount)
        requests("a", "200").add()
        for _ in range(times - 1):
            tally.tell()
    seconds("b").observe(3)
    requests("a", "200").add(2.5)
    queue.add(3)
    queue.add(-1)
    for _ in range(times):
        tally.tell()
    assert text(registry) == told_by_the_client()


def test_what_was_never_counted_is_there_once_it_is_named() -> None:
    registry, tally = CollectorRegistry(), Tally()
    tally.counts(Counter("dropped", "How many.", ("reason",), registry=registry))("deadline")
    assert b'dropped_total{reason="deadline"} 0.0' in generate_latest(registry)

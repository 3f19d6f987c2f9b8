"""What is counted in plain numbers is what Prometheus' own client would have counted."""

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.observability.counters import Counter, Gauge, Histogram, Info
from app.observability.metrics import Sums

BOUNDS = (0.5, 1, 2)
AMOUNTS = (0.1, 0.5, 0.7, 1.0, 1.5, 2.0, 2.1, 9)


def text(registry: CollectorRegistry) -> list[bytes]:
    """Return what Prometheus would read, except the time at which each series began."""
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


def counted_by_the_client() -> list[bytes]:
    registry = CollectorRegistry()
    seconds = prometheus_client.Histogram("seconds", "How long.", ("way",), buckets=BOUNDS, registry=registry)
    requests = prometheus_client.Counter("requests", "How many.", ("way", "status"), registry=registry)
    queue = prometheus_client.Gauge("queue", "How many there are.", registry=registry)
    prometheus_client.Gauge("build_info", "Always 1.", ("version",), registry=registry).labels("0.1.0").set(1)
    for amount in AMOUNTS:
        seconds.labels("a").observe(amount)
        requests.labels("a", "200").inc()
    seconds.labels("b").observe(3)
    requests.labels("a", "200").inc(2.5)
    requests.labels('a "quoted"\nway', "500")
    queue.inc(3)
    queue.dec()
    return text(registry)


def test_the_text_is_that_of_the_client_however_often_it_is_read() -> None:
    registry, sums = CollectorRegistry(), Sums(None)
    registry.register(sums)
    seconds = sums.add(Histogram("seconds", "How long.", ("way",), BOUNDS))
    requests = sums.add(Counter("requests", "How many.", ("way", "status")))
    queue = sums.add(Gauge("queue", "How many there are."))()
    sums.add(Info("build_info", "Always 1.", ("version",)))("0.1.0").add()
    for amount in AMOUNTS:
        seconds("a").observe(amount)
        requests("a", "200").add()
        text(registry)
    seconds("b").observe(3)
    requests("a", "200").add(2.5)
    requests('a "quoted"\nway', "500")
    queue.add(3)
    queue.add(-1)
    assert text(registry) == text(registry) == counted_by_the_client()


@pytest.mark.parametrize("bound", BOUNDS)
def test_an_observation_at_a_bound_belongs_to_its_bucket(bound: float) -> None:
    seconds = Histogram("seconds", "How long.", (), BOUNDS)
    seconds.series().observe(bound)
    (family,) = [seconds.metric(seconds.numbers)]
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "seconds_bucket"}
    assert buckets == {str(float(other)): float(bound <= other) for other in BOUNDS} | {"+Inf": 1}

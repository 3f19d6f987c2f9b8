"""What `GET /metrics` tells Prometheus: counters that only grow, and the state of the queue."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mobilenet_requests", "Requests answered.", ("route", "status"), registry=self._registry
        )
        self._rejected = Counter(
            "mobilenet_rejected",
            "Requests refused, by error code.",
            ("reason",),
            registry=self._registry,
        )
        self._dropped = Counter(
            "mobilenet_dropped",
            "Images that were admitted and not run: the client departed, or the deadline passed.",
            ("reason",),
            registry=self._registry,
        )
        self._degraded = Counter(
            "mobilenet_degraded",
            "Requests that a smaller variant answered because the queue of the one they wanted was full.",
            ("wanted", "variant"),
            registry=self._registry,
        )
        self._queue = Gauge("mobilenet_queue_images", "Images admitted and not answered yet.", registry=self._registry)
        for reason in ("departed", "deadline"):
            self._dropped.labels(reason)

    def watch_queue(self, admitted: Callable[[], int]) -> None:
        """Read the state of the queue from this function whenever somebody asks."""
        self._queue.set_function(admitted)

    def request(self, route: str, status: int) -> None:
        """Count a request by the route's template and the status of its answer."""
        self._requests.labels(route, str(status)).inc()

    def rejected(self, reason: str) -> None:
        """Count a request that was refused, by its error code."""
        self._rejected.labels(reason).inc()

    def dropped(self, reason: str) -> None:
        """Count an image that was admitted and not run."""
        self._dropped.labels(reason).inc()

    def degraded(self, wanted: str, variant: str) -> None:
        """Count a request that another variant answered than the one that it wanted, by their names."""
        self._degraded.labels(wanted, variant).inc()

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self._registry)

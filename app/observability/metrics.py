"""What `GET /metrics` tells Prometheus: what was counted, how long it took, and what is under way."""

import asyncio
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app import __version__
from app.config import METRICS_FOLDER
from app.errors import ServiceError
from app.mobilenet.variants import Variant
from app.model.model import Model
from app.observability.counters import Histogram, Tally
from app.prediction.classifier import Run
from app.prediction.result import Result

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGES = ("decode", "queue", "inference")
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64)
TELL_S = 1.0
"""How often one of several processes has the others know what it counted."""
IN_MEMORY = Path("/dev/shm")  # noqa: S108 (what is made in it has a name of its own)

disable_created_metrics()  # type: ignore[no-untyped-call]  # several processes cannot have them


class Metrics:
    """The metrics of one application; with a folder, that of `shared`, of all processes that count in it."""

    def __init__(self, folder: str | None = None) -> None:
        self._registry = registry = CollectorRegistry()
        self._several = folder is not None
        if folder is not None:
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry, folder)  # type: ignore[no-untyped-call]
        self._tally = tally = Tally()
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self._requests = tally.counts(counter("mobilenet_requests", "Requests answered.", ("route", "status")))
        self._rejected = tally.counts(counter("mobilenet_rejected", "Requests refused, by error code.", ("reason",)))
        self._in_flight = tally.counts(
            gauge("mobilenet_requests_in_flight", "Requests under way, the one that reads this included.")
        )()
        self._seconds = tally.distributions(
            Histogram(
                "mobilenet_request_duration_seconds",
                "From the head of a request to the end of its answer, but for requests that were refused.",
                ("route", "variant"),
                buckets=SECONDS,
                registry=registry,
            )
        )
        self._degraded = tally.counts(
            counter(
                "mobilenet_degraded",
                "Requests that a smaller variant answered because the queue of the one they wanted was full.",
                ("wanted", "variant"),
            )
        )
        self.images = ImageMetrics(registry, tally)
        build = gauge("mobilenet_build_info", "Always 1; the labels say what serves.", ("version", "python"))
        build.labels(__version__, platform.python_version()).set(1)

    def serves(self, models: Sequence[Model]) -> None:
        """Say what is served. What could be degraded is 0 from now on, or the rate of the first time would be lost."""
        self.images.serves(models)
        for wanted, smaller in permutations(models, 2):
            if smaller.cost.macs < wanted.cost.macs:
                self._degraded(wanted.variant.name, smaller.variant.name)

    def begun(self) -> None:
        """Count a request as under way."""
        self._in_flight.add()

    def ended(self) -> None:
        """Count it no more."""
        self._in_flight.add(-1)

    def request(self, route: str, status: int) -> None:
        """Count a request by the route's template and the status of its answer."""
        self._requests(route, str(status)).add()

    def took(self, route: str, seconds: float, variant: str) -> None:
        """Count how long a request took that was not refused; `variant` is "" where no model was asked."""
        self._seconds(route, variant).observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count a request that was refused, by its error code."""
        self._rejected(reason).add()

    def degraded(self, wanted: str, variant: str) -> None:
        """Count a request that another variant answered than the one that it wanted, by their names."""
        self._degraded(wanted, variant).add()

    def render(self) -> bytes:
        """Return the text that Prometheus reads; of other processes it has what they counted a second ago."""
        self._tally.tell()
        return generate_latest(self._registry)

    async def share(self) -> None:
        """Have the other processes, if there are any, know what this one counts until it ends."""
        try:
            while self._several:
                await asyncio.sleep(TELL_S)
                self._tally.tell()
        finally:
            self._tally.tell()


class ImageMetrics:
    """Counts images, by variant but for the queue and what was dropped."""

    def __init__(self, registry: CollectorRegistry, tally: Tally) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._classified = tally.counts(counter("mobilenet_images", "Images classified.", ("variant", "format")))
        self._failed = tally.counts(
            counter("mobilenet_images_failed", "Images answered with an error.", ("variant", "reason"))
        )
        self._macs = tally.counts(counter("mobilenet_macs", "Multiply-accumulates that the model ran.", ("variant",)))
        self._batches = tally.distributions(
            histogram("mobilenet_batch_images", "Images in a run of the model.", ("variant",), buckets=SIZES)
        )
        self._stages = tally.distributions(
            histogram(
                "mobilenet_stage_duration_seconds",
                "Where the time of a classified image went.",
                ("variant", "stage"),
                buckets=SECONDS,
            )
        )
        self._dropped = tally.counts(
            counter(
                "mobilenet_dropped",
                "Images that were admitted and not run: the client departed, or the deadline passed.",
                ("reason",),
            )
        )
        self._queue = tally.counts(
            gauge("mobilenet_queue_images", "Images admitted and not answered yet.", multiprocess_mode="livesum")
        )()
        self._model = gauge(
            "mobilenet_model_info",
            "Always 1; the labels say what is served.",
            ("variant", "weights", "weights_sha256", "precision", "engine"),
            multiprocess_mode="livemax",
        )
        self._macs_an_image: dict[Variant, int] = {}
        for reason in ("departed", "deadline"):
            self._dropped(reason)

    def serves(self, models: Iterable[Model]) -> None:
        """Say what is served."""
        for model in models:
            engine = model.engine
            labels = (model.variant.name, model.weights, model.weights_sha256, engine.precision, engine.name)
            self._model.labels(*labels).set(1)
            self._macs_an_image[model.variant] = model.cost.macs

    def admitted(self, change: int) -> None:
        """Count images that were admitted, or fewer than 0 when they were answered."""
        self._queue.add(change)

    def dropped(self, reason: str) -> None:
        """Count an image that was admitted and not run."""
        self._dropped(reason).add()

    def ran(self, run: Run) -> None:
        """Count a run of each variant."""
        for variant, images in run.images.items():
            self._batches(variant.name).observe(images)
            self._macs(variant.name).add(images * self._macs_an_image[variant])

    def settled(self, found: Result, variant: str) -> None:
        """Count what became of an image in the variant of this name."""
        if isinstance(found, ServiceError):
            self._failed(variant, found.code).add()
            return
        for run in found.runs or (found,):
            name = run.model.variant.name
            self._classified(name, run.format).add()
            for stage in STAGES:
                self._stages(name, stage).observe(getattr(run, f"{stage}_ms") / 1000)


@contextmanager
def shared() -> Iterator[str]:
    """Let processes that start meanwhile count together; give the folder for it, which is gone afterwards."""
    memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None  # else the disk is written to all the time
    with TemporaryDirectory(prefix=f"mobilenet-metrics-{os.getpid()}-", dir=memory) as folder:
        os.environ[METRICS_FOLDER] = folder
        yield folder
        del os.environ[METRICS_FOLDER]


def forget(process: int, folder: str) -> None:
    """Leave out what was under way in a process that ended; what it counted stays."""
    mark_process_dead(process, folder)  # type: ignore[no-untyped-call]

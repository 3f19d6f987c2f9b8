"""What `GET /metrics` tells Prometheus: what was counted, how long it took, and what is under way."""

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import permutations
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from app import __version__
from app.errors import ServiceError
from app.model.model import Model
from app.observability.counters import Count, Counter, Family, Gauge, Histogram, Info, Labels, Numbers, S, Series
from app.observability.snapshots import Snapshots
from app.prediction.result import Result
from app.prediction.run import Run

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
SIZES = (1, 2, 4, 8, 16, 32, 64)
METRICS = "metrics"
"""The metrics of an application in the state of its lifespan, where the server finds them."""
OUTCOMES = ("refused", "swapped")
"""What may come of a reload."""
SHARE_S = 1.0
"""How often one of several processes lets the others know what it has counted."""


class Sums(Collector):
    """All metrics of this process, each summed with the same metric of the other processes that share snapshots."""

    def __init__(self, snapshots: Snapshots | None) -> None:
        self._snapshots = snapshots
        self._families: list[Family[Any]] = []

    def add(self, family: Family[S]) -> Callable[..., S]:
        """Add a metric; return the function that gives the series for values of its labels."""
        self._families.append(family)
        return family.series

    def share(self) -> None:
        """Let the other processes, if there are any, know what this one has counted by now."""
        if self._snapshots is not None:
            self._snapshots.write({family.name: family.numbers for family in self._families})

    def collect(self) -> Iterator[Metric]:
        """Yield the sum of each metric."""
        # Shared first: the next process to be asked must not know less than this one said, or a counter would fall.
        self.share()
        others = list(self._snapshots.others()) if self._snapshots else []
        for family in self._families:
            theirs = [other.series.get(family.name, {}) for other in others if family.outlives or not other.ended]
            yield family.metric(_sum([family.numbers, *theirs]))


def _sum(several: Iterable[Series]) -> Series:
    sums: dict[Labels, Numbers] = {}
    for series in several:
        for labels, numbers in series.items():
            so_far = sums.get(labels, [0.0] * len(numbers))
            sums[labels] = [one + other for one, other in zip(so_far, numbers, strict=True)]
    return sums


class Metrics:
    """The metrics of one application; with snapshots also of the other processes that write them.

    Each attribute is the only series of a metric, or a function that returns the series for values of its labels. The
    label `route` is the template of the path, and `variant` is empty if no model was asked.
    """

    def __init__(self, snapshots: Snapshots | None = None) -> None:
        self._sums = sums = Sums(snapshots)
        self._registry = CollectorRegistry()
        self._registry.register(sums)
        self.requests = sums.add(Counter("mobilenet_requests", "Requests answered.", ("route", "status")))
        self.rejected = sums.add(Counter("mobilenet_rejected", "Requests refused, by error code.", ("reason",)))
        self.in_flight = sums.add(
            Gauge("mobilenet_requests_in_flight", "Requests under way, the one that reads this included.")
        )()
        self.seconds = sums.add(
            Histogram(
                "mobilenet_request_duration_seconds",
                "From the head of a request to the end of its answer. Refused requests are not counted.",
                ("route", "variant"),
                SECONDS,
            )
        )
        self.degraded = sums.add(
            Counter(
                "mobilenet_degraded",
                "Requests that a smaller variant answered because the queue of the one they wanted was full.",
                ("wanted", "variant"),
            )
        )
        self.connections_paused = sums.add(
            Counter(
                "mobilenet_connections_paused",
                "Times that connections had to wait, because as many were open as the limit of open files allows.",
            )
        )()
        self._reloads = sums.add(
            Counter(
                "mobilenet_reloads",
                "Reloads that ended: new models were swapped in, or refused, and the old ones went on.",
                ("outcome",),
            )
        )
        for outcome in OUTCOMES:
            self._reloads(outcome)
        self.images = ImageMetrics(sums)
        build = sums.add(Info("mobilenet_build_info", "Always 1; the labels say what serves.", ("version", "python")))
        build(__version__, platform.python_version()).add()

    def serves(self, models: Sequence[Model]) -> None:
        """Say which models are served from now on, instead of those before.

        Each way to degrade begins at 0: Prometheus would miss the increase of a series that appears with 1.
        """
        self.images.serves(models)
        for wanted, smaller in permutations(models, 2):
            if smaller.cost.macs < wanted.cost.macs:
                self.degraded(wanted.variant.name, smaller.variant.name)

    def reloaded(self, swapped: bool) -> None:
        """Count a reload, which swapped the models or was refused."""
        self._reloads(OUTCOMES[swapped]).add()

    def render(self) -> bytes:
        """Return the text that Prometheus reads; what other processes counted in the last second may be missing."""
        return generate_latest(self._registry)

    def share(self) -> None:
        """Let the other processes, if there are any, know what this one has counted by now."""
        self._sums.share()

    async def keep_sharing(self) -> None:
        """Share what was counted once a second, until cancelled."""
        while True:
            await asyncio.sleep(SHARE_S)
            self.share()


class ImageMetrics:
    """Counts images: by variant, except those in the queue and those that were dropped."""

    def __init__(self, sums: Sums) -> None:
        self._classified = sums.add(Counter("mobilenet_images", "Images classified.", ("variant", "format")))
        self._failed = sums.add(
            Counter("mobilenet_images_failed", "Images answered with an error.", ("variant", "reason"))
        )
        self._macs = sums.add(Counter("mobilenet_macs", "Multiply-accumulates that the model ran.", ("variant",)))
        self._batches = sums.add(
            Histogram("mobilenet_batch_images", "Images in a run of the model.", ("variant",), SIZES)
        )
        self._stages = sums.add(
            Histogram(
                "mobilenet_stage_duration_seconds",
                "Where the time of a classified image went.",
                ("variant", "stage"),
                SECONDS,
            )
        )
        self._familiarity = sums.add(
            Histogram(
                "mobilenet_familiarity",
                "Familiarity of the classified images, 0 to 1.",
                ("variant",),
                SHARES,
            )
        )
        self._dropped = sums.add(
            Counter(
                "mobilenet_dropped",
                "Images that were admitted and not run: the client departed, or the deadline passed.",
                ("reason",),
            )
        )
        self._queue = sums.add(Gauge("mobilenet_queue_images", "Images admitted and not answered yet."))()
        self._model = sums.add(
            Info(
                "mobilenet_model_info",
                "Always 1; the labels say what is served.",
                ("variant", "weights", "weights_sha256", "precision", "engine"),
            )
        )
        self._served: list[Count] = []
        for reason in ("departed", "deadline"):
            self._dropped(reason)

    def serves(self, models: Iterable[Model]) -> None:
        """Say which models are served from now on, instead of those before."""
        for series in self._served:
            series.add(-1)
        self._served = [self._model(*_labels(model)) for model in models]
        for series in self._served:
            series.add()

    def admitted(self, change: int) -> None:
        """Count images that were admitted; when they are answered, `change` is below 0."""
        self._queue.add(change)

    def dropped(self, reason: str) -> None:
        """Count an image that was admitted and not run, by the reason: `departed` or `deadline`."""
        self._dropped(reason).add()

    def ran(self, run: Run) -> None:
        """Count a run of the model, in which each variant has a batch of its own."""
        for model, images in run.images.items():
            self._batches(model.variant.name).observe(images)
            self._macs(model.variant.name).add(images * model.cost.macs)

    def settled(self, found: Result, variant: str) -> None:
        """Count how an image ended: classified, with the times of its stages, or failed in the variant of this name."""
        if isinstance(found, ServiceError):
            self._failed(variant, found.code).add()
            return
        for run in found.runs or (found,):
            name = run.model.variant.name
            self._classified(name, run.format).add()
            self._stages(name, "decode").observe(run.decode_ms / 1000)
            self._stages(name, "queue").observe(run.queue_ms / 1000)
            self._stages(name, "inference").observe(run.inference_ms / 1000)
            if run.familiarity is not None:
                self._familiarity(name).observe(run.familiarity)


def _labels(model: Model) -> Labels:
    engine = model.engine
    return model.variant.name, model.weights, model.weights_sha256, engine.precision, engine.name

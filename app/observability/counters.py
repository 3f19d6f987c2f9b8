"""What one process counts, in plain numbers, and the metrics of Prometheus' client that they become when it asks.

A request counts about twenty times. A counter of Prometheus' client takes a lock each time; adding to a number does
not. A metric has a *series* for each combination of values of its labels. Every series is a list of numbers, whatever
the kind of the metric, so the series of several processes are summed in one way (`app.observability.metrics`).
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import ClassVar, Generic, TypeVar

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Labels = tuple[str, ...]
"""The values of a metric's labels, in the order of the labels' names."""
Numbers = list[float]
Series = Mapping[Labels, Numbers]


class Count:
    """A series of one number: how often something happened, or how many there are of something now."""

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        self.numbers: Numbers = [0.0]

    def add(self, amount: float = 1) -> None:
        """Add to the number; an amount below 0 lowers a gauge."""
        self.numbers[0] += amount


class Distribution:
    """A series of a histogram: how many observations fell into each bucket, and the sum of all observations."""

    __slots__ = ("_bounds", "numbers")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take the upper bound of each bucket, ascending; one more bucket takes what is above the last bound."""
        self._bounds = bounds
        self.numbers: Numbers = [0.0] * (len(bounds) + 2)

    def observe(self, amount: float) -> None:
        """Count an observation in the first bucket whose bound it does not exceed."""
        self.numbers[bisect_left(self._bounds, amount)] += 1
        self.numbers[-1] += amount


S = TypeVar("S", Count, Distribution)


class Family(Generic[S]):
    """A metric: its name, what it means, the names of its labels, and its series."""

    outlives: ClassVar[bool] = True
    """Whether the numbers of a process still count when the process has ended."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], make: Callable[[], S]) -> None:
        self.name, self.documentation, self.labels = name, documentation, labels
        self._found: dict[Labels, S] = {}
        # Cached, since a lookup in Python would cost several times what the addition to the series costs.
        self.series: Callable[..., S] = cache(lambda *values: self._found.setdefault(values, make()))
        """Returns the series for these values of the labels."""

    @property
    def numbers(self) -> Series:
        """The numbers that this process has counted."""
        return {values: series.numbers for values, series in self._found.items()}

    def metric(self, sums: Series) -> Metric:
        """Return series, of this process or of several, as a metric of Prometheus' client."""
        raise NotImplementedError


class _Numbers(Family[Count]):
    """A metric whose series have one number each."""

    kind: ClassVar[type[CounterMetricFamily] | type[GaugeMetricFamily]]

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, documentation, labels, Count)

    def metric(self, sums: Series) -> Metric:
        """Return counters or gauges."""
        family = self.kind(self.name, self.documentation, labels=self.labels)
        for values, (number,) in sums.items():
            family.add_metric(values, number)
        return family


class Counter(_Numbers):
    """A metric that only grows. Its name in the answer ends with `_total`."""

    kind = CounterMetricFamily


class Gauge(_Numbers):
    """A metric of what is there now, summed over the processes that are there."""

    kind = GaugeMetricFamily
    outlives = False


class Info(Gauge):
    """A metric that is always 1 and says something by its labels, which is true of one process at least."""

    def metric(self, sums: Series) -> Metric:
        """Return gauges of what is still true."""
        return super().metric({values: [1.0] for values, (number,) in sums.items() if number})


class Histogram(Family[Distribution]):
    """A metric of how observations are distributed."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, documentation, labels, lambda: Distribution(bounds))
        self._bounds = [*map(str, map(float, bounds)), "+Inf"]

    def metric(self, sums: Series) -> Metric:
        """Return histograms. In Prometheus' format a bucket has the observations of those before it, too."""
        family = HistogramMetricFamily(self.name, self.documentation, labels=self.labels)
        for values, (*counts, total) in sums.items():
            family.add_metric(values, list(zip(self._bounds, accumulate(counts), strict=True)), total)
        return family

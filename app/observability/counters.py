"""Counts in plain numbers, of which Prometheus' client hears now and then: a request counts a score of times.

Each count in the client takes a lock, and with several processes a write to a file besides.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from typing import Any

from prometheus_client import Counter, Gauge
from prometheus_client import Histogram as ClientHistogram


class Histogram(ClientHistogram):
    """The client's, but it takes many observations at once."""

    @property
    def bounds(self) -> list[float]:
        """The upper bounds of the buckets, the last one infinite."""
        return self._upper_bounds

    def add(self, counts: list[int], total: float) -> None:
        """Add so many observations to each bucket, and their total to the sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Count:
    """A counter, or a gauge that tells how many there are of something."""

    __slots__ = ("_child", "_told", "_value")

    def __init__(self, child: Counter | Gauge) -> None:
        self._child = child
        self._value = self._told = 0.0

    def add(self, amount: float = 1) -> None:
        """Count so many more, of a gauge also fewer."""
        self._value += amount

    def tell(self) -> None:
        """Have the client know."""
        if change := self._value - self._told:
            self._child.inc(change)
            self._told = self._value


class Distribution:
    """A histogram."""

    __slots__ = ("_bounds", "_child", "_counts", "_total")

    def __init__(self, child: Histogram) -> None:
        self._child = child
        self._bounds = child.bounds
        self._clear()

    def _clear(self) -> None:
        self._counts = [0] * len(self._bounds)
        self._total = 0.0

    def observe(self, amount: float) -> None:
        """Count an observation."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._total += amount

    def tell(self) -> None:
        """Have the client know."""
        if any(self._counts):
            self._child.add(self._counts, self._total)
            self._clear()


class Tally:
    """All that is counted in this process."""

    def __init__(self) -> None:
        self._all: list[Count | Distribution] = []

    def counts(self, metric: Counter | Gauge) -> Callable[..., Count]:
        """Return what gives the count for the values of the metric's labels."""
        return self._of(metric, Count)

    def distributions(self, metric: Histogram) -> Callable[..., Distribution]:
        """Return what gives the distribution for the values of the metric's labels."""
        return self._of(metric, Distribution)

    def _of(self, metric: Any, kind: Callable[[Any], Any]) -> Callable[..., Any]:
        @cache  # to find the client's own takes longer than to count
        def found(*labels: str) -> Any:
            one = kind(metric.labels(*labels) if labels else metric)
            self._all.append(one)
            return one

        return found

    def tell(self) -> None:
        """Have the client know all that was counted."""
        for one in self._all:
            one.tell()

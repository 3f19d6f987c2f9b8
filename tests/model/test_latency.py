"""What a measurement says of the runs that it timed."""

import time
from collections.abc import Iterator, Sequence

import pytest

from app.engines.base import Pixels, Predictions
from app.mobilenet.variants import Variant
from app.model import latency
from tests.support.fakes import ColourEngine


class Timed(ColourEngine):
    """Takes as many milliseconds as it is told, by a clock of its own, and 1 s in the runs that warm it up."""

    def __init__(self, times_ms: Sequence[float]) -> None:
        self.now_s = 0.0
        self._times_ms: Iterator[float] = iter([1000.0] * latency.WARM_UP + list(times_ms))

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for six classes."""
        self.now_s += next(self._times_ms) / 1000
        return super().predict(images)


def test_it_says_the_median_and_what_95_of_100_runs_stay_within(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Timed([*[1.0] * 60, *[2.0] * 31, *[10.0] * 8, 500.0])
    monkeypatch.setattr(time, "perf_counter", lambda: engine.now_s)
    variant = Variant(0.25, 64)
    times_ms = latency.runs(engine, variant, seconds=0.7)
    found = latency.summary(times_ms, variant, engine="colour", precision="float32", classes=6, threads=1)
    assert (found.runs, found.median_ms, found.p95_ms) == (100, 1.0, 10.0)


def test_measuring_takes_at_least_twenty_runs_of_one_image() -> None:
    times_ms = latency.runs(ColourEngine(), Variant(0.25, 64), seconds=0)
    assert len(times_ms) == 20
    assert min(times_ms) > 0

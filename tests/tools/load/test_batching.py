"""What batches gain is measured an image, by engine and size, and shown as measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.engines.base import Pixels, Predictions
from tests.support.fakes import Clock, ColourEngine
from tools.load import batching
from tools.load.batching import CONNECTIONS, LIMITS, SIZES, Served, draw, measure, tables


class Timed(ColourEngine):
    """Takes so long for a batch, and so long for each image of it, by a clock."""

    def __init__(self, clock: Clock, batch_s: float, image_s: float) -> None:
        self._clock, self._batch_s, self._image_s = clock, batch_s, image_s

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Answer later."""
        self._clock.now_s += self._batch_s + self._image_s * len(images)
        return Predictions(np.zeros((len(images), self.classes), np.float32), np.zeros(len(images), np.float32))


def test_an_engine_that_gains_by_batches_is_told_from_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(batching, "time", clock)
    engines = {"gains": Timed(clock, 0.008, 0), "does not": Timed(clock, 0, 0.0005)}
    speeds = measure(engines, 64, seconds=1)
    found = {(speed.engine, speed.size): speed.image_ms for speed in speeds}
    assert len(found) == 2 * len(SIZES)
    assert (found["gains", 1], found["gains", 32]) == pytest.approx((8, 0.25))
    assert (found["does not", 1], found["does not", 32]) == pytest.approx((0.5, 0.5))
    served = [Served(limit, each, 100.0 * each, 1.0, 2.0, 1.5) for limit in LIMITS for each in CONNECTIONS]
    text = tables(speeds, served)
    assert f"| gains | {found['gains', 1]:.2f} |" in text
    assert f"| {LIMITS[0]} | 16 | 1600 | 1.0, 2.0 | 1.50 |" in text
    draw(speeds, served, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000

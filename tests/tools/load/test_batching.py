"""What batches gain is measured an image, by engine and size, and shown as measured."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.engines.base import Pixels, Predictions
from tests.support.fakes import ColourEngine
from tools.load.batching import CONNECTIONS, LIMITS, SIZES, Served, draw, measure, tables


class Sleeper(ColourEngine):
    """Takes so long for a batch, and so long for each image of it."""

    def __init__(self, batch_s: float, image_s: float) -> None:
        self._batch_s, self._image_s = batch_s, image_s

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Answer late."""
        time.sleep(self._batch_s + self._image_s * len(images))
        return Predictions(np.zeros((len(images), self.classes), np.float32), np.zeros(len(images), np.float32))


def test_an_engine_that_gains_by_batches_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    engines = {"gains": Sleeper(0.008, 0), "does not": Sleeper(0, 0.0005)}
    speeds = measure(engines, 64, seconds=1)
    found = {(speed.engine, speed.size): speed.image_ms for speed in speeds}
    assert len(found) == 2 * len(SIZES)
    assert found["gains", 1] > 16 * found["gains", 32]
    assert found["does not", 32] == pytest.approx(0.5, rel=0.5)
    served = [Served(limit, each, 100.0 * each, 1.0, 2.0, 1.5) for limit in LIMITS for each in CONNECTIONS]
    text = tables(speeds, served)
    assert f"| gains | {found['gains', 1]:.2f} |" in text
    assert f"| {LIMITS[0]} | 16 | 1600 | 1.0, 2.0 | 1.50 |" in text
    draw(speeds, served, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000

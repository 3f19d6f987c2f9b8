"""What a measurement says of the runs that it timed."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.engines.base import Pixels, Predictions
from app.measurements import Latency
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
    found = summary([times_ms[:60], times_ms[60:]], variant)
    assert (found.runs, found.median_ms, found.p95_ms, found.turns_ms) == (100, 1.0, 10.0, (1.0, 2.0))


def summary(turns: Sequence[Sequence[float]], variant: Variant, weights: str = "colours") -> Latency:
    facts: dict[str, Any] = {"engine": "colour", "precision": "float32", "classes": 6, "threads": 1}
    return latency.summary(turns, variant, weights=weights, contest=latency.now(), **facts)


def test_measuring_takes_at_least_twenty_runs_of_one_image() -> None:
    times_ms = latency.runs(ColourEngine(), Variant(0.25, 64), seconds=0)
    assert len(times_ms) == 20
    assert min(times_ms) > 0


OLDER = """[{"alpha": 0.25, "resolution": 64, "classes": 6, "precision": "float32", "engine": "colour", "threads": 1,
"machine": "a machine", "measured": "2026-01-31", "runs": 20, "median_ms": 9.0, "p95_ms": 9.5}]"""
"""What versions before the turns have saved."""


def test_what_an_older_version_has_saved_is_read_and_replaced_by_what_is_measured_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "machine", lambda: "a machine")
    (tmp_path / latency.NAME).write_text(OLDER)
    (older,) = latency.read(tmp_path)
    assert (older.median_ms, older.weights, older.turns_ms, older.contest) == (9.0, None, (), None)
    newer = summary([[1.0, 1.0]], Variant(0.25, 64))
    latency.save(tmp_path, [newer])
    assert latency.read(tmp_path) == [newer]


def test_weights_with_as_many_classes_take_as_long_but_a_file_that_others_compiled_may_not(tmp_path: Path) -> None:
    variant, key = Variant(0.25, 64), (0.25, 64)
    ours, foreign = summary([[1.0, 1.0]], variant), summary([[3.0, 3.0]], variant, "theirs.tflite")
    latency.save(tmp_path, [ours])
    latency.save(tmp_path, [foreign])
    saved = latency.read(tmp_path)
    assert saved == [ours, foreign], "neither replaces the other"
    found = {name: latency.under(saved, ours.setup, name) for name in ("colours", "other", "theirs.tflite", "a.tflite")}
    assert found == {"colours": {key: ours}, "other": {key: ours}, "theirs.tflite": {key: foreign}, "a.tflite": {}}

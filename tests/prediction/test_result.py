"""The times of a classification: decoding, queueing and inference, each under its own name and counted once."""

from dataclasses import replace

import numpy as np
import pytest

from app.mobilenet.variants import Variant
from app.prediction.result import assemble, combine
from app.runtime.pipeline import Outcome
from tests.support.fakes import Clock, colour_model

FIRST = colour_model()
SECOND = replace(FIRST, variant=Variant(0.5, 64))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.prediction.result.time", clock)
    return clock


def outcome(decode_ms: float, inference_ms: float) -> Outcome:
    return Outcome(np.ones(6, np.float32), 0.0, decode_ms, inference_ms, "PNG", 0.0, 0.0)


def test_what_is_neither_decoding_nor_inference_was_queueing(clock: Clock) -> None:
    one = assemble([FIRST], [outcome(200, 300)], 4, clock.now_s - 1)
    assert (one.decode_ms, one.inference_ms, one.batch_size) == (200, 300, 4)
    assert one.queue_ms == pytest.approx(500)
    assert assemble([FIRST], [outcome(200, 300)], 1, clock.now_s).queue_ms == 0, "clocks differ a little"


def test_of_one_decoding_for_several_models_the_first_has_the_time_of_decoding_and_queueing(clock: Clock) -> None:
    both = assemble([FIRST, SECOND], [outcome(200, 300), outcome(200, 100)], 2, clock.now_s - 1)
    first, second = both.runs
    assert [run.model for run in both.runs] == [FIRST, SECOND]
    assert (first.decode_ms, first.inference_ms) == (200, 300)
    assert first.queue_ms == pytest.approx(400)
    assert (second.decode_ms, second.queue_ms, second.inference_ms) == (0, 0, 100)


def test_the_times_of_several_runs_are_added_each_to_its_own_kind() -> None:
    runs = [
        replace(assemble([model], [outcome(decode, inference)], batch, 0.0), queue_ms=queue)
        for model, decode, queue, inference, batch in ((FIRST, 1, 10, 100, 3), (SECOND, 2, 20, 200, 2))
    ]
    both = combine(runs, 1)
    assert (both.decode_ms, both.queue_ms, both.inference_ms, both.batch_size) == (3, 30, 300, 3)
    assert (both.model, both.runs) == (SECOND, tuple(runs))

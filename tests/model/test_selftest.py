import time
from collections.abc import Sequence

import numpy as np
import pytest

from app.engines.base import Pixels, Predictions
from app.model.selftest import SelfTestFailed, self_test
from tests.support.fakes import ColourEngine


def test_a_sound_engine_passes() -> None:
    self_test(ColourEngine(), resolution=64, batch_size=8)
    self_test(ColourEngine(), resolution=32, batch_size=1)


class Broken(ColourEngine):
    """Right until one thing is changed."""

    def __init__(self, how: str) -> None:
        self._how = how

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return what `how` makes of the right answer."""
        predictions = super().predict(images)
        answer = predictions.probabilities
        if self._how == "constant":
            answer[:] = 1 / self.classes
        elif self._how == "logits":
            answer *= 3
        elif self._how == "nan":
            answer[0, 0] = np.nan
        elif self._how == "shape":
            answer = answer[:, 1:]
        elif self._how == "batch" and len(images) > 1:
            answer = np.roll(answer, 1, axis=0)
        return predictions._replace(probabilities=answer)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("constant", "the same answer whatever the image"),
        ("logits", "do not add up to 1"),
        ("nan", "not finite numbers"),
        ("shape", "the answers have the shape"),
        ("batch", "another answer in a batch of 2 than alone"),
    ],
)
def test_an_engine_that_answers_wrongly_fails(how: str, message: str) -> None:
    with pytest.raises(SelfTestFailed, match=message):
        self_test(Broken(how), resolution=64, batch_size=4)


@pytest.mark.parametrize("wrong", [2, 3, 4])
def test_batches_of_every_size_are_tried(wrong: int) -> None:
    class WrongAt(ColourEngine):
        def predict(self, images: Sequence[Pixels]) -> Predictions:
            """Answer each image of a batch of one size as if it were another one."""
            answer = super().predict(images)
            if len(images) != wrong:
                return answer
            return answer._replace(probabilities=np.roll(answer.probabilities, 1, axis=0))

    with pytest.raises(SelfTestFailed, match=f"in a batch of {wrong} than alone"):
        self_test(WrongAt(), resolution=64, batch_size=4)


def test_the_first_estimate_of_the_latency_is_that_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(ColourEngine):
        def predict(self, images: Sequence[Pixels]) -> Predictions:
            """Note that an image was asked about; each takes a second."""
            asked.append(len(images))
            return super().predict(images)

    monkeypatch.setattr(time, "perf_counter", lambda: float(sum(asked)))
    assert self_test(Counting(), resolution=64, batch_size=4) == 1

from collections.abc import Sequence

import numpy as np
import pytest

from app.engines.base import Pixels, Probabilities
from app.model.selftest import SelfTestFailed, self_test
from tests.support.fakes import ColourEngine


def test_a_sound_engine_passes() -> None:
    self_test(ColourEngine(), resolution=64, batch_size=8)
    self_test(ColourEngine(), resolution=32, batch_size=1)


class Broken(ColourEngine):
    """Right until one thing is changed."""

    def __init__(self, how: str) -> None:
        self._how = how

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Return what `how` makes of the right answer."""
        answer = super().predict(images)
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
        return answer


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

"""The steps of the optimiser are those of Keras' own, and its variables are all that it takes to go on."""

from typing import Any

import numpy as np
import pytest

from tests.support import needs

pytestmark = [pytest.mark.tensorflow, needs.TENSORFLOW.mark()]

RATES = (0.1, 0.2, 0.05, 0.0, 0.1)


def variables() -> list[Any]:
    import keras

    names = ("conv_kernel", "gamma", "beta", "bias")
    return [keras.Variable(np.linspace(-1, 2, 6, dtype=np.float32), name=name) for name in names]


def steps(optimizer: Any, given: list[Any], rates: tuple[float, ...]) -> None:
    for rate in rates:
        optimizer.learning_rate.assign(rate)
        optimizer.apply([2 * one.value + 0.3 for one in given], given)


def test_its_steps_are_those_of_keras_and_another_goes_on_with_its_variables() -> None:
    import keras

    from app.training.optimizer import DECAY, AdamW

    ours, theirs = variables(), variables()
    expected = keras.optimizers.AdamW(0.1, weight_decay=DECAY)
    expected.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    expected.build(theirs)
    first, second = AdamW(ours), AdamW(ours)
    steps(first, ours, RATES[:2])
    for one, other in zip(second.variables, first.variables, strict=True):
        one.assign(other)
    steps(second, ours, RATES[2:])
    steps(expected, theirs, RATES)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert not np.allclose(ours[0], ours[1], atol=1e-3), "a kernel decays, and nothing else"

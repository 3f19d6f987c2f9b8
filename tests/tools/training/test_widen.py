"""Widening keeps the answers of a network and lets its copied channels part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import needs

pytestmark = [pytest.mark.tensorflow, needs.TENSORFLOW.mark()]

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize(("narrow_alpha", "wide_alpha"), [(0.25, 0.5), (0.75, 1.0)])
def test_the_wide_network_answers_as_the_narrow_one(tmp_path: Path, narrow_alpha: float, wide_alpha: float) -> None:
    import keras

    from tools.training.widen import start_from

    keras.utils.set_random_seed(0)
    narrow = _network(narrow_alpha)
    path = tmp_path / "narrow.weights.h5"
    narrow.save_weights(path)
    wide = _network(wide_alpha)
    before = np.array(wide(PIXELS))
    start_from(wide, path, narrow_alpha, 10, seed=1)
    np.testing.assert_allclose(np.array(wide(PIXELS)), np.array(narrow(PIXELS)), atol=1e-5)
    assert np.abs(before - np.array(wide(PIXELS))).max() > 1e-3


def test_copies_of_a_channel_are_read_differently() -> None:
    from tools.training.widen import widen

    wide = _network(0.5)
    widen(_network(0.25), wide, seed=1)
    kernel = np.array(wide.get_layer("conv_pw_1").kernel)[0, 0]
    assert np.linalg.matrix_rank(kernel) == len(kernel) == 16  # 8, if what reads a copy were a multiple


def _network(alpha: float) -> Any:
    import keras

    from app.mobilenet import network

    model = network.build(alpha, None, 10, input_dtype="float32")
    rng = np.random.default_rng(int(alpha * 4))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model

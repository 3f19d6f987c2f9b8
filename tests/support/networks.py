"""Networks with random weights that still tell images apart, and images for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def images(count: int, resolution: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return random coarse patterns `[count, resolution, resolution, 3]`, unlike one another as photos are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(resolution // 4, axis=1).repeat(resolution // 4, axis=2)


def lively(alpha: float, resolution: int, classes: int, seed: int = 0) -> Any:
    """Build a network whose batch normalisation fits its random kernels, so that its answers are not all alike."""
    import keras

    from app.mobilenet.network import build

    keras.utils.set_random_seed(seed)
    network = build(alpha, resolution, classes)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(keras.random.uniform(layer.gamma.shape, 0.5, 2.0))
            layer.beta.assign(keras.random.uniform(layer.beta.shape, -0.5, 1.0))
    network(images(32, resolution, seed), training=True)  # moving mean and variance become those of this batch
    classifier = network.get_layer("conv_preds")
    classifier.set_weights([weight * 4 + (weight.ndim == 1) * 0.1 for weight in classifier.get_weights()])
    return network

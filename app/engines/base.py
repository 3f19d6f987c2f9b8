"""The interface of every engine, and made-up images to try one with."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.mobilenet.architecture import STRIDE
from app.mobilenet.variants import Precision

Pixels = NDArray[np.uint8]
"""An RGB image `[resolution, resolution, 3]`, uint8, 0 to 255."""

Probabilities = NDArray[np.float32]
"""The softmax output of a network: float32, 0 to 1, which adds up to 1 along the last axis, the classes."""


class Engine(Protocol):
    """A loaded model. Its `predict` must not be called from two threads at once."""

    name: str
    precision: Precision
    classes: int

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Return probabilities `[n, classes]`, float32, for n images. Each row depends only on its own image."""
        ...


def patterns(count: int, resolution: int) -> Pixels:
    """Return made-up images `[count, r, r, 3]` of coarse random blocks.

    Unlike pixel noise, which the network averages away, blocks still make a difference in its last layers.
    """
    side = resolution // STRIDE
    coarse = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return coarse.repeat(STRIDE, axis=1).repeat(STRIDE, axis=2)

"""What every engine can do, and made-up images to try one with."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.mobilenet.architecture import STRIDE
from app.mobilenet.variants import Precision

Pixels = NDArray[np.uint8]
"""An RGB image `[resolution, resolution, 3]`, 0 to 255."""

Probabilities = NDArray[np.float32]
"""Softmax output, 0 to 1, along the last axis."""


class Engine(Protocol):
    """A loaded model. `predict` is called from one thread at a time."""

    name: str
    precision: Precision
    classes: int

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Return `[n, classes]` float32 probabilities for n images; a row depends on its own image alone."""
        ...


def patterns(count: int, resolution: int) -> Pixels:
    """Return made-up images `[count, r, r, 3]`: coarse and random, which unlike noise reaches the last layers."""
    side = resolution // STRIDE
    coarse = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return coarse.repeat(STRIDE, axis=1).repeat(STRIDE, axis=2)

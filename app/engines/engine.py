"""What every engine can do."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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

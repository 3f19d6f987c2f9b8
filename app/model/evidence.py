"""Why a network answers as it does, and what an image is to it: exact, from the features that it answers by.

MobileNetV1 averages its last feature map over all places and gives the average to a linear classifier. So the logit of
a class is the mean of what the classifier makes of each place, which is the class activation map of Zhou et al. (2016,
arXiv:1512.04150), and the average is an embedding of the image. What is the same for all classes speaks for none of
them and changes no probability, so logits are counted here from their mean over the classes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Features, Head

LAYER = "global_average_pooling"
"""The layer whose output an embedding is."""

Embedding = NDArray[np.float32]
"""The average of the features of one image `[channels]`, float32, 0 to 6."""
Evidence = NDArray[np.float32]
"""What each place says for some classes `[classes, side, side]`, float32, signed; a grid adds up to a centred logit."""


def embedding(features: Features) -> Embedding:
    """Return the embedding of one image, by its features `[side, side, channels]`."""
    found: Embedding = features.mean(axis=(0, 1))
    return found


def as_stored(grid: Evidence, orientation: int) -> Evidence:
    """Return the grid `[rows, columns]` of an upright image as its pixels lie in a file of this EXIF orientation."""
    turned: Evidence = _STORED[orientation](grid)
    return turned


_STORED: dict[int, Callable[[Evidence], Any]] = {
    1: lambda grid: grid,
    2: np.fliplr,
    3: lambda grid: np.rot90(grid, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda grid: np.rot90(grid.T, 2),
    8: lambda grid: np.rot90(grid, -1),
}


def evidence(features: Features, head: Head, classes: list[int]) -> Evidence:
    """Return what each place says for these classes, by the features `[side, side, channels]` of one image.

    A place has its share of the bias, so that a grid adds up to the whole logit, less the mean logit of all classes.
    """
    answers = features @ head.centred.kernel[:, classes] + head.centred.bias[classes]
    return np.ascontiguousarray(answers.transpose(2, 0, 1) / np.float32(features.shape[0] * features.shape[1]))

"""Why a network answers as it does, and what an image is to it: exact, from the features that it answers by.

MobileNetV1 averages its last feature map over all places and gives the average to a linear classifier. So the logit of
a class is the mean of what the classifier makes of each place, which is the class activation map of Zhou et al. (2016,
arXiv:1512.04150), and the average is an embedding of the image.
"""

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Features, Head

Embedding = NDArray[np.float32]
"""The average of the features of one image `[channels]`, float32, 0 to 6."""
Evidence = NDArray[np.float32]
"""What each place says for some classes `[classes, side, side]`, float32, signed; a grid adds up to a logit."""


def embedding(features: Features) -> Embedding:
    """Return the embedding of one image, by its features `[side, side, channels]`."""
    found: Embedding = features.mean(axis=(0, 1))
    return found


def evidence(features: Features, head: Head, classes: list[int]) -> Evidence:
    """Return what each place says for these classes, by the features `[side, side, channels]` of one image.

    A place has its share of the bias, so that a grid adds up to the whole logit.
    """
    answers = features @ head.kernel[:, classes] + head.bias[classes]
    return np.ascontiguousarray(answers.transpose(2, 0, 1) / np.float32(features.shape[0] * features.shape[1]))

"""Temperature scaling: finds the T with which the probabilities `softmax(logits / T)` say how often answers are right.

Guo et al. 2017, arXiv:1706.04599. The order of the classes stays the same. The classifier is the last layer before the
softmax, so its weights are divided by T, and programs that read them need not know about T.
"""

import numpy as np
from numpy.typing import NDArray

from app.engines.tflite.interface import softmax

WIDEST = 20.0
"""T is searched between 1/20 and 20."""
CLOSE = 1 + 1e-6


def fit(logits: NDArray[np.float32], truths: NDArray[np.int64]) -> float:
    """Return the T with the smallest mean negative log likelihood of the true classes `[n]`, for logits `[n, classes]`.

    The likelihood is convex in 1/T. Its slope, the expected logit minus the logit of the true class, therefore has a
    single zero, which is found by bisection.
    """
    right = logits[np.arange(len(truths)), truths]
    low, high = 1 / WIDEST, WIDEST
    while high > low * CLOSE:
        inverse = (low * high) ** 0.5
        expected = (softmax(logits * np.float32(inverse)) * logits).sum(axis=-1)
        low, high = (inverse, high) if expected.mean() < right.mean() else (low, inverse)
    return 1 / low

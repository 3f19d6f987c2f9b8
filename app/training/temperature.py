"""Temperature scaling: finds the T with which the probabilities `softmax(logits / T)` say how often answers are right.

Guo et al. 2017, arXiv:1706.04599. The order of the classes stays the same. The classifier is the last layer before the
softmax, so its weights are divided by T, and programs that read them need not know about T.
"""

import numpy as np
from numpy.typing import NDArray

from app.engines.tflite.interface import softmax

WIDEST = 1e4
"""T is searched where it leaves the largest logit between the inverse of this and this: logits may have any size."""
CLOSE = 1 + 1e-6


def fit(logits: NDArray[np.float32], truths: NDArray[np.int64], photos: int) -> float:
    """Return the T with the smallest mean cross entropy of the true classes `[n]`, for logits `[n, classes]`.

    The logits are of so many different photos, each of which may be there at several resolutions. Photos that are all
    right say nothing against a T as small as can be, and then any mistake would be said to be impossible. So each truth
    counts as Platt's targets do (1999): the true class has (photos + 1) / (photos + 2), and the others share the rest.

    The cross entropy is convex in 1/T. Its slope, the expected logit minus the logit of the target, therefore has a
    single zero, which is found by bisection.
    """
    classes = logits.shape[-1]
    doubt = 1 / (photos + 2) / (classes - 1)
    right = logits[np.arange(len(truths)), truths]
    targets = right + doubt * (logits.sum(axis=-1) - classes * right)
    largest = float(np.abs(logits).max()) or 1.0
    low, high = 1 / WIDEST / largest, WIDEST / largest
    while high > low * CLOSE:
        inverse = (low * high) ** 0.5
        expected = (softmax(logits * np.float32(inverse)) * logits).sum(axis=-1)
        low, high = (inverse, high) if expected.mean() < targets.mean() else (low, inverse)
    return 1 / low

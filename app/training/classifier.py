"""Fits a classifier to the features of photos: linear discriminant analysis, in one step and without a random number.

It takes the features of each class as scattered alike around the mean of that class (Friedman 1989, "Regularized
discriminant analysis"). Of few photos the scatter is known badly, so a share of equal scatter in all directions is
added to it. Held-out photos say how much of it is best.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Head
from app.engines.tflite.interface import softmax
from app.training import temperature

Floats = NDArray[np.float32]

SHRINKAGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""How much equal scatter is tried, in relation to the mean scatter of the features."""
LEAST_SCATTER = 1e-6
"""Keeps the equations solvable where the features of a class are all the same."""
LEAST_PROBABILITY = 1e-9


class Sample(NamedTuple):
    """Photos of known classes: their `features` `[n, channels]`, float32, and their class indices `labels` `[n]`."""

    features: Floats
    labels: NDArray[np.int64]


def fit(learnt: Sample, held_out: Sample) -> Head:
    """Return the classifier that gives the lowest loss on the held-out photos.

    Its logits are divided by the temperature that suits these photos. All classes, which are those of `learnt`, count
    alike, however many photos they have.
    """
    fitted = [_scaled(head, held_out) for head in _analyses(learnt)]
    return min(fitted, key=lambda head: loss(softmax(logits(head, held_out.features)), held_out.labels))


def logits(head: Head, features: Floats) -> Floats:
    """Return the logits `[n, classes]` for features `[n, channels]`."""
    found: Floats = features @ head.kernel + head.bias
    return found


def loss(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Return the mean negative log likelihood of the true classes `[n]`, for probabilities `[n, classes]`."""
    return float(-np.log(probabilities[np.arange(len(labels)), labels] + LEAST_PROBABILITY).mean())


def _analyses(learnt: Sample) -> list[Head]:
    features, labels = learnt
    means = np.stack([features[labels == label].mean(axis=0, dtype=np.float64) for label in range(labels.max() + 1)])
    apart = features - means.astype(np.float32)[labels]
    scatter = (apart.T @ apart).astype(np.float64) / len(apart)
    equal = (np.trace(scatter) / len(scatter) + LEAST_SCATTER) * np.eye(len(scatter))
    kernels = [np.linalg.solve(scatter + share * equal, means.T) for share in SHRINKAGES]
    return [
        Head(kernel.astype(np.float32), (-0.5 * (means.T * kernel).sum(axis=0)).astype(np.float32))
        for kernel in kernels
    ]


def _scaled(head: Head, held_out: Sample) -> Head:
    scale = np.float32(temperature.fit(logits(head, held_out.features), held_out.labels, len(held_out.labels)))
    return Head(head.kernel / scale, head.bias / scale)

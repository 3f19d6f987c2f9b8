"""Fits a classifier to the features of photos by softmax regression, for a training of all layers to begin with.

Its kernel stays small, which such a training needs; that of a discriminant analysis (`classifier`) does not. It is
descended to by Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), in NumPy: Keras takes
as many seconds to prepare for so small a network as all of the fit takes here.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Head
from app.engines.tflite.interface import softmax

Floats = NDArray[np.float32]

EPOCHS = 40
BATCH = 128
RATE = 1e-2
"""The learning rate at the beginning. It goes down to 0 by half a cosine."""
DECAY = 1.0
MOMENTUM, MOMENTUM_OF_SQUARES = 0.9, 0.999
LEAST_DEVIATION = 1e-7
"""Keeps Adam from a division by zero."""
FLOOR = 0.2
"""Features that hardly vary are not scaled up: this share of the mean deviation is added to the deviation of each."""


def fit(features: Floats, targets: Floats, weights: Floats, seed: int) -> Head:
    """Fit a classifier to features `[n, channels]`, float32; return its kernel `[channels, classes]` and its bias.

    `targets` `[n, classes]` are the probabilities wanted, and `weights` `[n]` say how much a mistake with each counts.
    The features are brought to one scale for the fit, and the scale is then folded into the kernel.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation += FLOOR * deviation.mean() + np.float32(LEAST_DEVIATION)
    scaled = np.column_stack([(features - mean) / deviation, np.ones(len(features), np.float32)])
    *kernel, bias = _descended(scaled, targets, weights, np.random.default_rng(seed))
    folded = np.stack(kernel) / deviation[:, None]
    return Head(folded, bias - mean @ folded)


def _descended(inputs: Floats, targets: Floats, weights: Floats, rng: np.random.Generator) -> Floats:
    """Return the parameters `[inputs, classes]`; the last of the inputs is 1, so that the last row is the bias."""
    parameters = np.zeros((inputs.shape[1], targets.shape[1]), np.float32)
    mean, square = np.zeros_like(parameters), np.zeros_like(parameters)
    steps = EPOCHS * -(-len(inputs) // BATCH)
    for step, rows in enumerate(_batches(len(inputs), rng)):
        rate = RATE * (1 + math.cos(math.pi * step / steps)) / 2
        taken = inputs[rows]
        errors = (softmax(taken @ parameters) - targets[rows]) * weights[rows, None]
        gradient = taken.T @ errors / len(rows)
        mean += (1 - MOMENTUM) * (gradient - mean)
        square += (1 - MOMENTUM_OF_SQUARES) * (gradient**2 - square)
        unbiased = rate * math.sqrt(1 - MOMENTUM_OF_SQUARES ** (step + 1)) / (1 - MOMENTUM ** (step + 1))
        parameters -= rate * DECAY * parameters + unbiased * mean / (np.sqrt(square) + LEAST_DEVIATION)
    return parameters


def _batches(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(EPOCHS):
        order = rng.permutation(count)
        yield from (order[start : start + BATCH] for start in range(0, count, BATCH))

"""Temperature scaling: finds the T with which the probabilities `softmax(logits / T)` say how often answers are right.

Guo et al. 2017, arXiv:1706.04599. The order of the classes stays the same. The classifier is the last layer before the
softmax, so its weights are divided by T here, and programs that read them need not know about T.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.engines.interface import softmax
from app.engines.reader import read
from app.imaging import decode
from app.mobilenet.variants import RESOLUTIONS
from app.training.schedule import BATCH
from tools.training.photos import split
from tools.weights.evaluate import LabelledPhoto

MAX_PIXELS = 10**8
WIDEST = 20.0
"""T is searched between 1/20 and 20."""
CLOSE = 1 + 1e-6

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


def held_out(photos: list[LabelledPhoto], seed: int = 0) -> list[LabelledPhoto]:
    """Return those of the training photos that a training with this seed held out."""
    return [photos[index] for index in split(len(photos), seed)[1]]


def measure(weights: Path, alpha: float, photos: list[LabelledPhoto]) -> float:
    """Return the T of Keras weights on these photos, decoded as the service does it; one T for the four resolutions."""
    from app.mobilenet.network import build, trunk

    arrays = read(weights, alpha)
    network = build(alpha, None, len(arrays[-1]))
    network.set_weights(arrays)
    features = trunk(network)
    batches = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    logits = [np.array(features(_scaled(batch, resolution))) for resolution in RESOLUTIONS for batch in batches]
    return fit(np.concatenate(logits), np.tile([photo.truth for photo in photos], len(RESOLUTIONS)))


def _scaled(photos: list[LabelledPhoto], resolution: int) -> Floats:
    contents = (photo.path.read_bytes() for photo in photos)
    decoded = [decode.decode(content, resolution=resolution, max_pixels=MAX_PIXELS) for content in contents]
    return np.stack(decoded).astype(np.float32) / 127.5 - 1


def fit(logits: Floats, truths: Indices) -> float:
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


def fold(weights: Path, alpha: float, temperature: float, target: Path) -> None:
    """Write Keras weights that answer `softmax(logits / temperature)` where these answer `softmax(logits)`."""
    from app.mobilenet.network import build

    *features, kernel, bias = read(weights, alpha)
    network = build(alpha, None, len(bias))
    network.set_weights([*features, kernel / temperature, bias / temperature])
    network.save_weights(target)

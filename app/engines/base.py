"""The interface of every engine, and made-up images to try one with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.mobilenet.architecture import STRIDE
from app.mobilenet.variants import Precision

Pixels = NDArray[np.uint8]
"""An RGB image `[resolution, resolution, 3]`, uint8, 0 to 255."""

Probabilities = NDArray[np.float32]
"""The softmax output of a network: float32, 0 to 1, which adds up to 1 along the last axis, the classes."""


class Predictions(NamedTuple):
    """What a network says of n images: `probabilities` `[n, classes]` and `energies` `[n]`, both float32.

    An energy is the logarithm of the sum of the exponentials of an image's logits. It is high for images like those
    that the network was trained on (docs/decisions/0028). It is NaN where a model gives only probabilities.
    """

    probabilities: Probabilities
    energies: NDArray[np.float32]


class Engine(Protocol):
    """A loaded model. Its `predict` must not be called from two threads at once."""

    name: str
    precision: Precision
    classes: int

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for n images. Each row depends only on its own image."""
        ...


Features = NDArray[np.float32]
"""The last feature maps of n images `[n, side, side, channels]`, float32, 0 to 6; side is the resolution / 32."""


@dataclass(frozen=True)
class Head:
    """The classifier at the end of a network: `kernel` `[channels, classes]` and `bias` `[classes]`, both float32.

    The logits of an image are the mean of its features over all places, times the kernel, plus the bias.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]

    @cached_property
    def shared(self) -> "Head":
        """What all classes have in common, as a classifier of one class: the mean logit."""
        return Head(self.kernel.mean(axis=1, keepdims=True), self.bias.mean(keepdims=True))

    @cached_property
    def centred(self) -> "Head":
        """The same classifier without what all classes have in common, which gives the same probabilities."""
        return Head(self.kernel - self.shared.kernel, self.bias - self.shared.bias)


class FeatureEngine(Engine, Protocol):
    """An engine that can also give the features which its answers are made of."""

    channels: int
    """Of the features; 0 if this model gives none."""

    @property
    def head(self) -> Head:
        """The classifier that makes the logits of the features."""
        ...

    def observe(self, images: Sequence[Pixels]) -> tuple[Predictions, Features]:
        """Return what `predict` returns for n images, and their features."""
        ...


class ServingEngine(FeatureEngine, Protocol):
    """An engine for worker processes, whose threads are made after the fork."""

    def with_threads(self, threads: int) -> "ServingEngine":
        """Return another engine for the same model, with another number of threads."""
        ...


def patterns(count: int, resolution: int) -> Pixels:
    """Return made-up images `[count, r, r, 3]` of coarse random blocks.

    Unlike pixel noise, which the network averages away, blocks still make a difference in its last layers.
    """
    side = resolution // STRIDE
    coarse = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return coarse.repeat(STRIDE, axis=1).repeat(STRIDE, axis=2)

"""How pixels go into a compiled model, and how predictions come out of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Pixels, Predictions, Probabilities

Output = Literal["probabilities", "rounded probabilities", "logits"]
"""What a model answers with. Rounded probabilities went through 8-bit numbers, and add up to 1 only nearly."""


@dataclass(frozen=True, slots=True)
class Interface:
    """What a compiled model takes and gives. The default is that of the models which this project compiles.

    `values` has the number that stands for each of the 256 values of a pixel, in the type that the model takes; None
    if it takes the pixels themselves. A quantised output `q` stands for `scale · (q - zero)`.
    """

    values: NDArray[Any] | None = None
    output: Output = "logits"
    scale: float = 1.0
    zero: int = 0

    def encode(self, image: Pixels) -> NDArray[Any]:
        """Return the input of the model `[1, r, r, 3]` for an image."""
        return (image if self.values is None else self.values[image])[np.newaxis]

    def decode(self, outputs: NDArray[Any]) -> Predictions:
        """Return the predictions for what the model gave for n images, `[n, classes]`."""
        if outputs.dtype != np.float32:
            outputs = (outputs.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)
        if self.output == "logits":
            return predictions(outputs)
        probabilities = _normalised(outputs) if self.output == "rounded probabilities" else outputs
        return Predictions(probabilities, np.full(len(outputs), np.nan, np.float32))


def answer_first(outputs: Iterable[Any]) -> list[Any]:
    """Return the outputs of a model, its answer before its features, which have more axes."""
    return sorted(outputs, key=lambda output: len(output["shape"]))


def predictions(logits: NDArray[np.float32]) -> Predictions:
    """Return the softmax of logits `[n, classes]`, and their energies."""
    largest = logits.max(axis=-1, keepdims=True)
    shares: Probabilities = np.exp(logits - largest)  # at most 1, so that no exponential overflows
    sums = shares.sum(axis=-1, keepdims=True)
    shares /= sums
    return Predictions(shares, (largest + np.log(sums))[:, 0])


def softmax(logits: NDArray[np.float32]) -> Probabilities:
    """Return the probabilities of logits `[n, classes]`."""
    return predictions(logits).probabilities


def _normalised(rounded: NDArray[np.float32]) -> Probabilities:
    """Return what adds up to 1. Where all of many probabilities were rounded to 0, they are taken as equal."""
    sums = rounded.sum(axis=-1, keepdims=True)
    shares: Probabilities = np.where(sums > 0, rounded, np.float32(1)) / np.where(sums > 0, sums, rounded.shape[-1])
    return shares

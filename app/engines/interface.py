"""How pixels go into a compiled model, and how probabilities come out of it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Pixels, Probabilities

Output = Literal["probabilities", "rounded probabilities", "logits"]
"""What a model answers with. Rounded probabilities went through 8-bit numbers, and add up to 1 only nearly."""


@dataclass(frozen=True, slots=True)
class Interface:
    """What a compiled model takes and gives. The default is that of the float32 models which this project compiles.

    `values` has the number that stands for each of the 256 values of a pixel, in the type that the model takes; None
    if it takes the pixels themselves. A quantised output `q` stands for `scale · (q - zero)`.
    """

    values: NDArray[Any] | None = None
    output: Output = "probabilities"
    scale: float = 1.0
    zero: int = 0

    def encode(self, image: Pixels) -> NDArray[Any]:
        """Return the input of the model `[1, r, r, 3]` for an image."""
        return (image if self.values is None else self.values[image])[np.newaxis]

    def decode(self, outputs: NDArray[Any]) -> Probabilities:
        """Return the probabilities `[n, classes]`, float32, for what the model gave for n images."""
        if outputs.dtype != np.float32:
            outputs = (outputs.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)
        if self.output == "logits":
            return softmax(outputs)
        return _normalised(outputs) if self.output == "rounded probabilities" else outputs


def softmax(logits: NDArray[np.float32]) -> Probabilities:
    """Return the probabilities of logits `[n, classes]`."""
    shares: Probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def _normalised(rounded: NDArray[np.float32]) -> Probabilities:
    """Return what adds up to 1. Where all of many probabilities were rounded to 0, they are taken as equal."""
    sums = rounded.sum(axis=-1, keepdims=True)
    shares: Probabilities = np.where(sums > 0, rounded, np.float32(1)) / np.where(sums > 0, sums, rounded.shape[-1])
    return shares

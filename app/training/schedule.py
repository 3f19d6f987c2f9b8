"""The plan of a training: its epochs, the resolutions of its batches, and its learning rate."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from app.engines.base import Pixels

Shares = dict[int, float]
"""The share of each resolution, in pixels, in the batches."""
Phases = tuple[tuple[float, Shares], ...]
"""The part of a training at which each phase ends, and the resolutions in it."""

BATCH = 64
LEARNING_RATE = 3e-3
WARM_UP = 0.03
COLOUR_JITTER = 0.25
"""The largest change of brightness, contrast and saturation, as a share."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule of a training of `epochs` epochs with `steps` batches each. Epochs and batches count from 0."""

    epochs: int
    steps: int
    seed: int
    phases: Phases
    highest_rate: float = LEARNING_RATE
    batch: int = BATCH

    def shares(self, epoch: int) -> Shares:
        """Return the resolutions of the batches in this epoch, and the share of each."""
        return next(shares for end, shares in self.phases if epoch < round(end * self.epochs))

    def learning_rate(self, number: int) -> float:
        """Return the learning rate at batch `number` of all: a linear warm-up, then half a cosine down to 0."""
        progress = number / (self.epochs * self.steps)
        if progress < WARM_UP:
            return self.highest_rate * progress / WARM_UP
        return self.highest_rate * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


class Learner(Protocol):
    """A network in training, in any library. The moving average of its weights is what is evaluated and saved."""

    def learn(self, number: int, rate: float, *batch: Any) -> tuple[Any, Any]:
        """Learn from batch `number` of the training, counted from 0, at this rate; return the loss and the accuracy."""

    def probabilities(self, pixels: Pixels) -> Any:
        """Return the answers `[n, classes]` to pixels `[n, r, r, 3]`, in any form that NumPy can read."""

    def write(self, file: BinaryIO, epochs: int) -> None:
        """Write a checkpoint: everything that is needed to continue after so many epochs."""

    def read(self, file: BinaryIO) -> int:
        """Read a checkpoint; return the number of finished epochs."""

    def save(self, path: Path) -> None:
        """Write the averaged weights in Keras' format."""

"""What a training works on: photos to learn from, and photos held out to see how well."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.training.recipe import Recipe
from app.training.survey import Survey
from app.training.views import Views

Floats = NDArray[np.float32]

BATCH = 64
"""How many photos are looked at together where nothing is learnt from them."""
SMOOTHING = 0.1
"""The share of the probability that a target gives to all classes alike."""
MOST_WEIGHT = 5.0
"""The most that a mistake with a rare class weighs, in relation to the mean."""


def parts(indices: Sequence[int]) -> Iterator[list[int]]:
    """Yield the photos that are looked at together."""
    for start in range(0, len(indices), BATCH):
        yield list(indices[start : start + BATCH])


class Bar(Protocol):
    """Shows how far the work is."""

    def begin(self, title: str, total: int) -> None:
        """Begin a part of the work, which goes through `total` photos."""

    def advance(self, count: int) -> None:
        """Count so many more photos as done."""


@dataclass(frozen=True, slots=True)
class Task:
    """The photos that are learnt from, and those that are held out to see how well."""

    recipe: Recipe
    classes: int
    views: Views
    learnt: Sequence[int]
    held_out: Sequence[int]

    def labels(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Return the class index of each of these photos."""
        return np.array([self.views.photos[index].label for index in indices], np.int64)

    def weights(self) -> Floats:
        """Return for each class how much a mistake with it weighs: rare ones more, and all photos 1 on average."""
        counts = np.bincount(self.labels(self.learnt), minlength=self.classes)
        weights = np.minimum(MOST_WEIGHT, len(self.learnt) / (self.classes * counts))
        balanced: Floats = (weights * len(self.learnt) / (weights * counts).sum()).astype(np.float32)
        return balanced


@dataclass(frozen=True, slots=True)
class Photos:
    """Where photos come from: those to learn from, those to validate with, and those of none of the classes."""

    folder: str
    found: Survey
    validation: Survey | None
    unfamiliar: Views | None
    unfamiliar_folder: str | None

    @property
    def measured(self) -> Survey:
        """The photos that the scores are measured on, or, if they were held out, those that they are among."""
        return self.validation or self.found


def smooth(labels: NDArray[np.int64], classes: int) -> Floats:
    """Return targets with label smoothing, float32 `[n, classes]`, for class indices `[n]`."""
    targets: Floats = (np.eye(classes)[labels] * (1 - SMOOTHING) + SMOOTHING / classes).astype(np.float32)
    return targets

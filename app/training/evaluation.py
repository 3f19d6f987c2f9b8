"""How good the finished models are, measured as they will be served: compiled, on photos that they have not learnt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Predictions
from app.measurements import Score
from app.model.model import Model
from app.model.scores import calibration_error
from app.training.task import Bar, parts
from app.training.views import Views

TOP = 5


@dataclass(frozen=True, slots=True)
class Answers:
    """What one model answered to photos, and the class of each photo."""

    model: Model
    predictions: Predictions
    truths: NDArray[np.int64]

    @property
    def best(self) -> NDArray[np.int64]:
        """The most probable class of each photo."""
        found: NDArray[np.int64] = self.predictions.probabilities.argmax(axis=1)
        return found

    def score(self, data: str) -> Score:
        """Return how good the answers are; `data` says what the photos are."""
        probabilities = self.predictions.probabilities
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        sure = probabilities.max(axis=1)
        right = self.best == self.truths
        return Score(
            weights=self.model.weights,
            weights_sha256=self.model.weights_sha256,
            alpha=self.model.variant.alpha,
            resolution=self.model.variant.resolution,
            precision=self.model.engine.precision,
            data=data,
            images=len(self.truths),
            top1=float(right.mean()),
            top5=float((order == self.truths[:, None]).any(axis=1).mean()),
            calibration_error=calibration_error(list(zip(sure.tolist(), right.tolist(), strict=True))),
        )

    def confusion(self, classes: int) -> NDArray[np.int64]:
        """Return the matrix `[classes, classes]`: how many photos of class i were answered with class j."""
        matrix = np.zeros((classes, classes), np.int64)
        np.add.at(matrix, (self.truths, self.best), 1)
        return matrix


def ask(model: Model, views: Views, indices: Sequence[int], bar: Bar) -> Answers:
    """Return what a model answers to photos, which are decoded as the service does it."""
    answers = []
    for part in parts(indices):
        answers.append(model.engine.predict(list(views.plain(part, model.variant.resolution))))
        bar.advance(len(part))
    predictions = Predictions(*(np.concatenate(each) for each in zip(*answers, strict=True)))
    return Answers(model, predictions, np.array([views.photos[index].label for index in indices], np.int64))

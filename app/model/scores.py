"""The measured accuracy of a folder of weights: its `accuracy.json`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from app.config import MODEL_WEIGHTS
from app.errors import StartError, why
from app.measurements import Score
from app.mobilenet.variants import Precision, Variant

NAME = "accuracy.json"
BINS = 15
SCORES = TypeAdapter(tuple[Score, ...])


def read(folder: Path = MODEL_WEIGHTS) -> tuple[Score, ...]:
    """Read the scores of a folder of weights. There are none without a file; raises `StartError` if it is damaged."""
    path = folder / NAME
    try:
        return SCORES.validate_json(path.read_bytes()) if path.is_file() else ()
    except (OSError, ValidationError) as exc:
        raise StartError(f"cannot read {path}: {why(exc)}") from exc


def find(scores: Sequence[Score], variant: Variant, precision: Precision) -> Score | None:
    """Return the score of a variant in this precision; None if it was not measured."""
    key = (variant.alpha, variant.resolution, precision)
    return next((score for score in scores if (score.alpha, score.resolution, score.precision) == key), None)


def calibration_error(answers: Sequence[tuple[float, bool]]) -> float:
    """Return the expected calibration error, 0 to 1, of answers: the best probability, and whether it is right.

    Guo et al. 2017, arXiv:1706.04599: the probability is divided into 15 equal bins, and the distance between mean
    probability and accuracy in each bin is weighted by the number of answers in it.
    """
    if not answers:
        return 0.0
    probabilities, right = np.array(answers, np.float64).T
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = (abs((probabilities - right)[bins == number].sum()) for number in range(BINS))
    return float(sum(gaps) / len(answers))

"""The measured accuracy of a folder of weights: its `accuracy.json`."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from app.config import MODEL_WEIGHTS
from app.errors import StartError
from app.measurements import Score
from app.mobilenet.variants import Precision, Variant

NAME = "accuracy.json"
SCORES = TypeAdapter(tuple[Score, ...])


def read(folder: Path = MODEL_WEIGHTS) -> tuple[Score, ...]:
    """Read the scores of a folder of weights. There are none without a file; raises `StartError` if it is damaged."""
    path = folder / NAME
    try:
        return SCORES.validate_json(path.read_bytes()) if path.is_file() else ()
    except (OSError, ValidationError) as exc:
        raise StartError(f"cannot read {path}: {str(exc).splitlines()[0]}") from exc


def find(scores: Sequence[Score], variant: Variant, precision: Precision) -> Score | None:
    """Return the score of a variant in this precision; None if it was not measured."""
    key = (variant.alpha, variant.resolution, precision)
    return next((score for score in scores if (score.alpha, score.resolution, score.precision) == key), None)

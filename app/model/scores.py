"""The measured accuracy of the bundled weights: `model_weights/accuracy.json`, written by `tools.weights.evaluate`."""

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from app.config import MODEL_WEIGHTS
from app.measurements import Score
from app.mobilenet.variants import Precision, Variant

PATH = MODEL_WEIGHTS / "accuracy.json"


SCORES = TypeAdapter(list[Score])


def read(path: Path = PATH) -> list[Score]:
    """Read a file of scores; the list is empty if there is no file. Raises `ValueError` if the file is damaged."""
    return SCORES.validate_json(path.read_bytes()) if path.is_file() else []


@cache
def find(weights: str, variant: Variant, precision: Precision) -> Score | None:
    """Return the score of the weights of this name in this variant and precision; None if it was not measured."""
    key = (weights, variant.alpha, variant.resolution, precision)
    return next((score for score in read() if score.key == key), None)

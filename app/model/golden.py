"""Golden images: our own drawings with pinned answers. A model that answers them differently never becomes ready."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.errors import StartError, why
from app.imaging import decode
from app.mobilenet.variants import Precision, stored
from app.model.model import Model
from app.model.selftest import SelfTestFailed

NAME = "answers.json"
MAX_PIXELS = 10**6
TOLERANCES: dict[Precision, float] = {"float32": 0.1, "int8": 0.5, "bfloat16": 0.5}
"""How far the logarithm of a probability may be from the pinned one; decoders and processors round differently."""
SMALLEST = 1e-5
"""Smaller probabilities are compared as if they were this one, since their logarithms vary wildly."""


class Answers(BaseModel):
    """The pinned answers of one model: the probabilities `[classes]` for each image, by file name."""

    weights: str
    alpha: float
    resolution: int
    precision: Precision
    probabilities: dict[str, list[float]]


ANSWERS = TypeAdapter(list[Answers])


def read(folder: Path) -> list[Answers]:
    """Read the pinned answers of all models. Raises `StartError` if the file is missing or damaged."""
    path = folder / NAME
    try:
        return ANSWERS.validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        raise StartError(f"cannot read {path}: {why(exc)}") from exc


def classify(model: Model, path: Path) -> list[float]:
    """Return the model's probabilities for an image file, which is decoded and cropped like an upload."""
    pixels = decode.decode(path.read_bytes(), resolution=model.variant.resolution, max_pixels=MAX_PIXELS)
    return [float(share) for share in model.engine.predict([pixels]).probabilities[0]]


def answers(model: Model, paths: Sequence[Path]) -> Answers:
    """Return the answers of a model to these images, to be pinned."""
    return Answers(
        weights=model.weights,
        alpha=model.variant.alpha,
        resolution=model.variant.resolution,
        precision=model.engine.precision,
        probabilities={path.name: [float(f"{share:.4g}") for share in classify(model, path)] for path in paths},
    )


def check(model: Model) -> None:
    """Raise `SelfTestFailed` if a model's answer to a golden image of its weights differs from the pinned one.

    Weights that came without golden images, and unusual resolutions, have no pinned answers and pass.
    """
    if model.golden is None:
        return
    key = (model.weights, model.variant.alpha, model.variant.resolution, stored(model.engine.precision))
    for answers in read(model.golden):
        if (answers.weights, answers.alpha, answers.resolution, answers.precision) == key:
            for name, expected in answers.probabilities.items():
                _compare(model, name, classify(model, model.golden / name), expected)


def _compare(model: Model, name: str, found: list[float], expected: list[float]) -> None:
    if len(found) != len(expected):
        raise SelfTestFailed(f"the self-test failed: {len(found)} classes instead of {len(expected)}")
    wanted, answer = (model.labels[int(np.argmax(shares))].label for shares in (expected, found))
    # Logarithms are compared because a confident network hides changes: its best class stays near 1 whatever happens.
    distance = float(np.abs(np.log(np.maximum(found, SMALLEST)) - np.log(np.maximum(expected, SMALLEST))).max())
    # The most probable class need not be compared too: within the tolerance only near-equal classes can swap.
    if distance > TOLERANCES[model.engine.precision]:
        raise SelfTestFailed(
            f"the self-test failed: the golden image {name} is {answer!r}, expected {wanted!r}, and a probability is "
            f"{np.exp(distance):.3g} times what it should be: wrong weights or wrong preprocessing"
        )

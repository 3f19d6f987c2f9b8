"""Draws what a network takes for what, and the photos that it is wrong about."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.mobilenet.variants import Variant
from app.training.card import MISTAKES, Mistake, draw_confusion, draw_mistakes
from app.training.evaluation import Answers
from app.training.fonts import drawable
from app.training.names import shown
from app.training.survey import Survey
from app.training.views import Views

LONGEST_NAME = 24
"""The most signs of the name of a file in a picture, whose captions stand side by side."""


def draw(
    variant: Variant, found: Survey, asked: tuple[Views, Sequence[int]], answers: Sequence[Answers], folder: Path
) -> tuple[Mistake, ...]:
    """Draw the confusion matrix and the mistakes of a variant, in float32.

    `found` are the photos that were asked about, and `asked` their views and indices. Return all mistakes, in the order
    of the picture: those that it was most certain of come first.
    """
    one = next(one for one in answers if one.model.variant == variant)
    names = drawable(found.classes)
    draw_confusion(one.confusion(len(names)), names, folder / "confusion.png")
    sure = one.predictions.probabilities.max(axis=1)
    wrong: list[int] = sorted(np.flatnonzero(one.best != one.truths).tolist(), key=lambda at: -sure[at])
    views, indices = asked
    paths = [views.photos[indices[at]].path for at in wrong]
    files = drawable([shown(path.name) for path in paths[:MISTAKES]], "photo")
    captions = [
        f"{_short(file)}\n{names[one.truths[at]]}\nanswered {names[one.best[at]]}, {sure[at]:.0%}"
        for file, at in zip(files, wrong, strict=False)
    ]
    worst = [indices[at] for at in wrong[:MISTAKES]]
    pixels = views.plain(worst, 128) if worst else np.empty((0, 128, 128, 3), np.uint8)
    draw_mistakes(pixels, captions, folder / "mistakes.png")
    return tuple(
        Mistake(
            path=shown(path.relative_to(found.folder)),
            label=found.classes[one.truths[at]],
            answer=found.classes[one.best[at]],
            probability=round(float(sure[at]), 4),
        )
        for path, at in zip(paths, wrong, strict=True)
    )


def _short(name: str) -> str:
    """Return the name of a file without its middle, if it is long."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"

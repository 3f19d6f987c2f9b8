"""The card of trained weights: what they were trained on and how, how good they are, and where they are wrong."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.axes
import matplotlib.figure
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from app.engines.base import Pixels
from app.measurements import Score
from app.training import fonts
from app.training.recipe import Recipe
from app.training.state import Row

MISTAKES = 12
MOST_COUNTED = 40
"""The most classes of which a confusion matrix has numbers; with those of more it would grow beyond memory."""
MOST_NAMED = 120
"""The most classes that have room for their names beside it."""


class Card(BaseModel):
    """All that is known of the weights, for programs; `card.md` says the same for people. Shares are 0 to 1."""

    model_config = ConfigDict(frozen=True)

    name: str
    created: str
    alpha: float
    resolution: int
    classes: dict[str, int]
    """How many photos of each class there were."""
    photos: str
    learnt: int
    held_out: int
    validated: int
    remarks: tuple[str, ...]
    recipe: Recipe
    machine: str
    seconds: float
    temperature: float
    best_epoch: int
    epochs: list[Row]
    scores: list[Score]
    unfamiliar_photos: str | None = None
    auroc: dict[str, float] | None = None
    """For each variant and precision, how well familiarity tells those photos from photos of the classes."""

    def text(self) -> str:
        """Return the card for people, in Markdown."""
        parts = (self._summary, self._accuracy, self._photos, self._familiarity, self._recipe)
        return "\n\n".join("\n".join(lines) for part in parts if (lines := part())) + "\n"

    def _summary(self) -> list[str]:
        best = self._best
        return [
            f"# {self.name}",
            "",
            f"A MobileNetV1 of α {self.alpha:g} that tells {len(self.classes)} classes apart. It was trained for "
            f"{self.resolution} × {self.resolution} pixels on {self.created} and serves 128 to 224. {best.top1:.1%} of "
            f"{best.images:,} photos that it had not seen get the right class (α {self.alpha:g} @ {self.resolution}, "
            "float32).",
        ]

    @property
    def _best(self) -> Score:
        return next(one for one in self.scores if one.resolution == self.resolution and one.precision == "float32")

    def _accuracy(self) -> list[str]:
        error = math.sqrt(self._best.top1 * (1 - self._best.top1) / self._best.images)
        return [
            "## Accuracy",
            "",
            f"Measured on {self._measured_on()}, decoded and classified as the service does it. One standard error of "
            f"the best figure is {error:.1%}.",
            "",
            *_table("resolution | precision | top-1 | top-5 | calibration error", map(_row, self.scores)),
            "",
            "![How many photos of each class were answered with which class](confusion.png)",
            "",
            "![The mistakes that it was most certain of](mistakes.png)",
        ]

    def _measured_on(self) -> str:
        if self.validated:
            return f"the {self.validated:,} photos of `{self.recipe.validation}`, which chose nothing"
        return f"the {self.held_out:,} photos held out, which chose the best epoch too: the figures flatter a little"

    def _photos(self) -> list[str]:
        counts = (f"{name.replace('|', '/')} | {count:,}" for name, count in self.classes.items())
        return [
            "## Photos",
            "",
            f"From `{self.photos}`: {self.learnt:,} to learn from, and {self.held_out:,} held out, by which the best "
            "epoch and the temperature were chosen and familiarity is judged.",
            "",
            *_table("class | photos", counts),
            *([""] if self.remarks else []),
            *(f"- {remark}" for remark in self.remarks),
        ]

    def _familiarity(self) -> list[str]:
        if not self.auroc:
            return []
        return [
            "## What it does not know",
            "",
            f"How often a photo of its classes is more familiar to it than one of `{self.unfamiliar_photos}` (AUROC; "
            "0.5 would be chance):",
            "",
            *_table("variant | AUROC", (f"{name} | {share:.3f}" for name, share in self.auroc.items())),
        ]

    def _recipe(self) -> list[str]:
        rows = [f"{name.replace('_', ' ')} | {value}" for name, value in self.recipe.model_dump().items()]
        rows += [f"best epoch | {self.best_epoch}", f"temperature | {self.temperature:.3f}"]
        rows += [f"time | {self.seconds:.0f} s on {self.machine}"]
        return ["## Recipe", "", *_table("what | value", rows)]


def _table(heading: str, rows: Iterable[str]) -> list[str]:
    rule = " | ".join("---" for _ in heading.split("|"))
    return [f"| {row} |" for row in (heading, rule, *rows)]


def _row(score: Score) -> str:
    shares = (score.top1, score.top5, score.calibration_error)
    return f"{score.resolution} | {score.precision} | {' | '.join(f'{share:.1%}' for share in shares)}"


def draw_confusion(matrix: NDArray[np.int64], names: Sequence[str], path: Path, title: str = "") -> None:
    """Draw a confusion matrix; a row is the class of the photos, and a column the class they were answered with.

    Of more than 40 classes it has no numbers and does not grow further. Of more than 120, some names are left out, in
    even steps.
    """
    side = max(5.0, 2.5 + 0.45 * min(len(names), MOST_COUNTED))
    named = range(0, len(names), math.ceil(len(names) / MOST_NAMED))
    size = 10 if len(names) <= MOST_COUNTED else 7
    labels = [names[index] for index in named]
    with fonts.drawing([*labels, title]):
        figure = matplotlib.figure.Figure(figsize=(side, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(matrix / matrix.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(named, labels, rotation=45, ha="right", size=size)
        axes.set_yticks(named, labels, size=size)
        axes.set(xlabel="answer", ylabel="class of the photo", title=title)
        if len(names) <= MOST_COUNTED:
            _count(axes, matrix)
        figure.savefig(path, dpi=110)


def _count(axes: matplotlib.axes.Axes, matrix: NDArray[np.int64]) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            colour = "white" if value > matrix[row].sum() / 2 else "black"
            axes.text(column, row, str(value), ha="center", va="center", color=colour, size=8)


def draw_mistakes(photos: Pixels, captions: Sequence[str], path: Path) -> None:
    """Draw up to twelve photos `[n, r, r, 3]` with what was thought of each below it."""
    with fonts.drawing(captions):
        figure = matplotlib.figure.Figure(figsize=(10, 8), layout="constrained")
        for axes, number in zip(figure.subplots(3, 4).flat, range(MISTAKES), strict=True):
            axes.axis("off")
            if number < len(captions):
                axes.imshow(photos[number])
                axes.set_title(captions[number], size=8)
        if not captions:
            figure.suptitle("no photo was answered wrongly")
        figure.savefig(path, dpi=90)

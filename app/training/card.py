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
from app.model.familiarity import FEWEST
from app.training import fonts
from app.training.evaluation import TOP
from app.training.recipe import Recipe
from app.training.state import Row, epoch_name

MISTAKES = 12
MOST_COUNTED = 40
"""The most classes of which a confusion matrix has numbers; with those of more it would grow beyond memory."""
MOST_NAMED = 120
"""The most classes that have room for their names beside it."""
OF_ALL_LAYERS = ("epochs", "mirror", "best_epoch")
"""What says nothing of a training of the classifier alone."""
SURE = 1.96
"""How many standard deviations to each side are 95 % of a normal distribution."""


class Mistake(BaseModel):
    """A photo that was answered wrongly: its path in the folder it is from, its class, and the answer."""

    model_config = ConfigDict(frozen=True)

    path: str
    label: str
    answer: str
    probability: float


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
    mistakes: tuple[Mistake, ...] = ()
    """Of the variant that it was trained for, in float32; those that it was most certain of come first."""
    unfamiliar_photos: str | None = None
    auroc: dict[str, float] | None = None
    """For each variant and precision, how well familiarity tells those photos from photos of the classes."""

    def text(self) -> str:
        """Return the card for people, in Markdown."""
        parts = (self._summary, self._accuracy, self._photos, self._familiarity, self._recipe)
        return "\n\n".join("\n".join(lines) for part in parts if (lines := part())) + "\n"

    def _summary(self) -> list[str]:
        return [
            f"# {self.name}",
            "",
            f"A MobileNetV1 of α {self.alpha:g} that tells {len(self.classes)} classes apart. It was trained for "
            f"{self.resolution} × {self.resolution} pixels on {self.created} and serves 128 to 224. It is right on "
            f"{self.right} (α {self.alpha:g} @ {self.resolution}, float32).",
        ]

    @property
    def right(self) -> str:
        """On how many photos it is right, such as `98 of 100 held-out photos`."""
        kind = "validation" if self.validated else "held-out"
        return f"{round(self._best.top1 * self._best.images):,} of {self._best.images:,} {kind} photos"

    @property
    def _best(self) -> Score:
        return next(one for one in self.scores if one.resolution == self.resolution and one.precision == "float32")

    def _accuracy(self) -> list[str]:
        low, high = _interval(self._best.top1, self._best.images)
        return [
            "## Accuracy",
            "",
            f"Measured on {self._measured_on()} With 95 % confidence, it is right on {low:.0%} to {high:.0%} of other "
            "photos like these.",
            "",
            *self._figures(),
            "",
            "![How many photos of each class were answered with which class](confusion.png)",
            "",
            "![The mistakes that it was most certain of](mistakes.png)",
            "",
            "`mistakes` in `card.json` has the name of every photo that was answered wrongly.",
        ]

    def _figures(self) -> list[str]:
        shares = {"top-1": "top1", "top-5": "top5", "calibration error": "calibration_error"}
        if len(self.classes) <= TOP:  # the right class is always among so few
            del shares["top-5"]
        rows = (
            [f"{one.resolution}", one.precision, *(f"{getattr(one, name):.1%}" for name in shares.values())]
            for one in self.scores
        )
        return _table(" | ".join(["resolution", "precision", *shares]), map(" | ".join, rows))

    def _measured_on(self) -> str:
        as_served = "decoded and classified as the service does it."
        if self.validated:
            return f"the {self.validated:,} photos of `{self.recipe.validation}`, which chose nothing, {as_served}"
        return (
            f"the {self.held_out:,} photos held out, {as_served} The same photos chose the {self._chosen}, so the "
            "figures flatter a little."
        )

    @property
    def _chosen(self) -> str:
        return "classifier" if self.recipe.head_only else "best epoch"

    def _photos(self) -> list[str]:
        unknown = no_familiarity(self.best_epoch, self.held_out)
        compared = "" if unknown else ", and with which familiarity compares new photos"
        counts = (f"{name.replace('|', '/')} | {count:,}" for name, count in self.classes.items())
        return [
            "## Photos",
            "",
            f"From `{self.photos}`: {self.learnt:,} to learn from, and {self.held_out:,} held out, by which the "
            f"{self._chosen} and the temperature were chosen{compared}.",
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
        facts = self.recipe.model_dump() | {"best_epoch": epoch_name(self.best_epoch)}
        if self.recipe.head_only:
            facts = {name: value for name, value in facts.items() if name not in OF_ALL_LAYERS}
        rows = [f"{name.replace('_', ' ')} | {value}" for name, value in facts.items()]
        rows += [f"temperature | {self.temperature:.3f}", f"time | {self.seconds:.0f} s on {self.machine}"]
        return ["## Recipe", "", *_table("what | value", rows)]


def no_familiarity(best: int, held_out: int) -> str:
    """Return why nothing says how familiar photos are, for the best epoch and so many held-out photos, or nothing."""
    if best == 0:
        why = "the features of the best weights were learnt on other photos and say nothing about these"
    elif held_out < FEWEST:
        why = f"only {held_out} photos are held out, and at least {FEWEST} are needed"
    else:
        return ""
    return f"answers will have no familiarity, since {why}"


def _table(heading: str, rows: Iterable[str]) -> list[str]:
    rule = " | ".join("---" for _ in heading.split("|"))
    return [f"| {row} |" for row in (heading, rule, *rows)]


def _interval(share: float, count: int) -> tuple[float, float]:
    """Return what the share of all is between, with 95 % confidence, if that of so many is this (Wilson 1927)."""
    spread = SURE**2 / count
    side = SURE * math.sqrt((share * (1 - share) + spread / 4) / count)
    return (share + spread / 2 - side) / (1 + spread), (share + spread / 2 + side) / (1 + spread)


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
    """Draw up to twelve photos `[n, r, r, 3]`, each with its caption above it."""
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

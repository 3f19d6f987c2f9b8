"""The cost and the accuracy of cascades: a small variant answers, and where it is not sure, a large one.

Both follow from the answers that each variant gives alone, so that no model has to run for each threshold.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray

from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from tools.weights.axis import macs_axis

THRESHOLDS = np.linspace(0, 1, 21).round(2).tolist()
NO_ANSWER = (-1, 0.0)
CORNERS = ((4, -10), (4, 4), (-4, 4), (-4, -10))
"""Where the name of a point may be drawn: offsets to the right and up, in typographic points."""


class VariantAnswers(NamedTuple):
    """The answers of one variant: its cost, and for each photo the best probability and whether that class is right."""

    variant: Variant
    macs: int
    sure: NDArray[np.float64]
    right: NDArray[np.bool_]

    @classmethod
    def of(
        cls, variant: Variant, classes: int, answers: Iterable[Sequence[tuple[int, float]]], truths: Sequence[int]
    ) -> "VariantAnswers":
        """Compare answers with the true classes of the photos.

        Each answer is a list of class and probability, most probable first; it is empty if the photo had no answer.
        """
        best, sure = zip(*(answer[0] if answer else NO_ANSWER for answer in answers), strict=True)
        return cls(variant, cost(variant, classes).macs, np.array(sure), np.array(best) == truths)

    @property
    def top1(self) -> float:
        """The share of photos that the variant classifies correctly."""
        return float(self.right.mean())


class Point(NamedTuple):
    """A cascade at one threshold: mean MACs per photo, the share that is right, and the share that is passed on."""

    mean_macs: int
    top1: float
    passed_on: float


class Curve(NamedTuple):
    """A cascade of two variants, with a point for each of `THRESHOLDS`."""

    small: VariantAnswers
    large: VariantAnswers
    points: list[Point]


def at(small: VariantAnswers, large: VariantAnswers, threshold: float) -> Point:
    """Return the cascade at a threshold: the small variant's answer stands if its probability is at least that."""
    stands = small.sure >= threshold
    passed_on = 1 - float(stands.mean())
    right = np.where(stands, small.right, large.right)
    # A photo that is passed on costs the MACs of both variants.
    return Point(round(small.macs + passed_on * large.macs), float(right.mean()), passed_on)


def curves(singles: Iterable[VariantAnswers]) -> list[Curve]:
    """Return the cascade of each pair of variants, the cheaper one first."""
    pairs = combinations(sorted(singles, key=lambda single: single.macs), 2)
    return [Curve(*pair, [at(*pair, threshold) for threshold in THRESHOLDS]) for pair in pairs]


def worthwhile(singles: Iterable[VariantAnswers]) -> list[VariantAnswers]:
    """Return the variants that are more accurate than every cheaper one, cheapest first."""
    found: list[VariantAnswers] = []
    for single in sorted(singles, key=lambda single: single.macs):
        if not found or single.top1 > found[-1].top1:
            found.append(single)
    return found


def draw(singles: Sequence[VariantAnswers], path: Path) -> None:
    """Draw accuracy against mean MACs: the variants, and all cascades.

    The cascades that begin with the cheapest variant and end with another worthwhile one are in colour.
    """
    figure = matplotlib.figure.Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots()
    first, *others = (single.variant for single in worthwhile(singles))
    for curve in curves(singles):
        axes.plot(*_line(curve), color="0.9", linewidth=0.7, zorder=1)
        if curve.small.variant == first and curve.large.variant in others:
            axes.plot(*_line(curve), marker=".", label=f"{first}, then {curve.large.variant}")
    axes.scatter([one.macs for one in singles], [one.top1 * 100 for one in singles], color="black", zorder=3)
    axes.set(ylabel="top-1, %")
    axes.legend(loc="lower right")
    macs_axis(axes, "mean MACs of a photo")
    _name_each(axes, singles)
    figure.savefig(path, dpi=110)


def _name_each(axes: Any, singles: Sequence[VariantAnswers]) -> None:
    """Write the name of each variant beside its point, at the first corner where it covers no other name, if any."""
    axes.figure.draw_without_rendering()  # the positions are known only after this
    taken: list[Any] = []
    for single in singles:
        for (right, up), side in zip(CORNERS, ("left", "left", "right", "right"), strict=True):
            note = axes.annotate(
                f"{single.variant}", (single.macs, single.top1 * 100), (right, up), textcoords="offset points", ha=side
            )
            box = note.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            note.remove()
        else:
            continue
        taken.append(box)


def _line(curve: Curve) -> tuple[list[int], list[float]]:
    return [point.mean_macs for point in curve.points], [point.top1 * 100 for point in curve.points]


def write(singles: Sequence[VariantAnswers], path: Path) -> None:
    """Write what `draw` draws as JSON: the variants, and for each cascade its figures at each threshold."""
    found = {
        "photos": len(singles[0].right),
        "thresholds": THRESHOLDS,
        "variants": [{**_named(single), "macs": single.macs, "top1": single.top1} for single in singles],
        "cascades": [
            {"small": _named(curve.small), "large": _named(curve.large), **_columns(curve)} for curve in curves(singles)
        ],
    }
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _named(single: VariantAnswers) -> dict[str, float]:
    return {"alpha": single.variant.alpha, "resolution": single.variant.resolution}


def _columns(curve: Curve) -> dict[str, list[float]]:
    return {
        name: [round(value, 4) for value in values]
        for name, values in zip(Point._fields, zip(*curve.points, strict=True), strict=True)
    }

"""What cascades of two variants cost and are right in: the small one answers, and where it is not sure, the large one.

Both are known from what each of the two answers alone, so that nothing has to run for a threshold.
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
from tools.weights.axis import price

THRESHOLDS = np.linspace(0, 1, 21).round(2).tolist()
NO_ANSWER = (-1, 0.0)
CORNERS = ((4, -10), (4, 4), (-4, 4), (-4, -10))
"""Of a point, in points right and up: where its name may be."""


class Single(NamedTuple):
    """A variant alone: what it costs, and of each photo how sure it is, 0 to 1 `[n]`, and whether it is right `[n]`."""

    variant: Variant
    macs: int
    sure: NDArray[np.float64]
    right: NDArray[np.bool_]

    @classmethod
    def of(
        cls, variant: Variant, classes: int, answers: Iterable[Sequence[tuple[int, float]]], truths: Sequence[int]
    ) -> "Single":
        """Compare classes and probabilities of photos, best first and empty if there is no answer, with the truths."""
        best, sure = zip(*(answer[0] if answer else NO_ANSWER for answer in answers), strict=True)
        return cls(variant, cost(variant, classes).macs, np.array(sure), np.array(best) == truths)

    @property
    def top1(self) -> float:
        """The share of photos that it is right in."""
        return float(self.right.mean())


class Point(NamedTuple):
    """A cascade at one threshold: mean MACs of a photo, the shares that are right and that the large one answers."""

    mean_macs: int
    top1: float
    passed_on: float


class Curve(NamedTuple):
    """The cascade of two variants at each of `THRESHOLDS`."""

    small: Single
    large: Single
    points: list[Point]


def at(small: Single, large: Single, threshold: float) -> Point:
    """Return what becomes of it if the small one's answer stands where its probability is at least the threshold."""
    stands = small.sure >= threshold
    passed_on = 1 - float(stands.mean())
    right = np.where(stands, small.right, large.right)
    # Who is passed on has paid for both.
    return Point(round(small.macs + passed_on * large.macs), float(right.mean()), passed_on)


def curves(singles: Iterable[Single]) -> list[Curve]:
    """Return the cascade of each two variants, the cheaper one first."""
    pairs = combinations(sorted(singles, key=lambda single: single.macs), 2)
    return [Curve(*pair, [at(*pair, threshold) for threshold in THRESHOLDS]) for pair in pairs]


def worthwhile(singles: Iterable[Single]) -> list[Single]:
    """Return the variants that are right more often than every cheaper one, cheapest first."""
    found: list[Single] = []
    for single in sorted(singles, key=lambda single: single.macs):
        if not found or single.top1 > found[-1].top1:
            found.append(single)
    return found


def draw(singles: Sequence[Single], path: Path) -> None:
    """Draw accuracy against mean MACs: all cascades, those of the cheapest and each worthwhile one, the variants."""
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
    price(axes, "mean MACs of a photo")
    _name_each(axes, singles)
    figure.savefig(path, dpi=110)


def _name_each(axes: Any, singles: Sequence[Single]) -> None:
    """Write the variants beside their points, each at the first corner where it covers no other name, if any."""
    axes.figure.draw_without_rendering()  # only then is it known where things are
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


def write(singles: Sequence[Single], path: Path) -> None:
    """Write what is drawn as JSON: the variants, and of each cascade a list of each figure, one a threshold."""
    found = {
        "photos": len(singles[0].right),
        "thresholds": THRESHOLDS,
        "variants": [{**_named(single), "macs": single.macs, "top1": single.top1} for single in singles],
        "cascades": [
            {"small": _named(curve.small), "large": _named(curve.large), **_columns(curve)} for curve in curves(singles)
        ],
    }
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _named(single: Single) -> dict[str, float]:
    return {"alpha": single.variant.alpha, "resolution": single.variant.resolution}


def _columns(curve: Curve) -> dict[str, list[float]]:
    return {
        name: [round(value, 4) for value in values]
        for name, values in zip(Point._fields, zip(*curve.points, strict=True), strict=True)
    }

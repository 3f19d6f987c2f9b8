"""The pictures of docs/mobilenet.md: accuracy against MACs, in the paper and here, and against epochs of training."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from app.mobilenet.architecture import IMAGENET_CLASSES
from app.mobilenet.cost import cost
from app.mobilenet.variants import ALPHAS, PUBLISHED, Variant
from app.model import scores
from tools.experiments.networks import RESOLUTION, paper
from tools.experiments.results import ONE_FOR_ALL, Mean, TrainingResult, by_resolution, by_training, gain
from tools.weights.axis import macs_axis

COLOURS = {"separable": "tab:blue", "shallow": "tab:green", "narrow": "tab:orange", "full convolution": "tab:purple"}
SIZE = (10, 4.2)
MACS_OF_A_STEP = 3
"""A training step costs about three times the MACs of an answer: backwards, every layer has two products for one."""


def comparison(results: Sequence[TrainingResult], target: Path) -> None:
    """Draw top-1 against MACs: on the left of the paper, on the right of the longest trainings here."""
    figure = matplotlib.figure.Figure(figsize=SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    longest = max(one.epochs for one in results)
    _points(left, [(name, macs, Mean(top1 / 100, 0)) for name, (macs, top1) in paper().items()])
    left.set(title="The paper: ImageNet, α 1 @ 224", ylabel="top-1, %")
    _points(right, [(own[0].network, own[0].macs, _top1(own)) for own in _of(results, longest)])
    right.set(title=f"Here: Imagenette, α {results[0].alpha:g} @ {RESOLUTION}, {longest} epochs")
    figure.savefig(target, dpi=110)


def convergence(results: Sequence[TrainingResult], photos: int, target: Path) -> None:
    """Draw top-1 against the epochs of a training of `photos` photos each, and against the MACs that it took."""
    figure = matplotlib.figure.Figure(figsize=SIZE, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    found = by_training(results)
    for name, colour in COLOURS.items():
        own = [found[key] for key in sorted(found) if key[0] == name]
        means = [_top1(of) for of in own]
        macs = [MACS_OF_A_STEP * of[0].macs * photos * of[0].epochs for of in own]
        _errors(left, [of[0].epochs for of in own], means, colour, True, name)
        _errors(right, macs, means, colour, True, name)
    left.set(xscale="log", xlabel="epochs of the training", ylabel="top-1, %")
    left.xaxis.set_major_locator(LogLocator(base=2, subs=(1,)))
    left.xaxis.set_minor_locator(NullLocator())
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.grid(alpha=0.3)
    left.legend(loc="lower right")
    macs_axis(right, "MACs spent in training")
    figure.savefig(target, dpi=110)


def resolutions(results: Sequence[TrainingResult], target: Path) -> None:
    """Draw top-1 against MACs after the longest trainings, and how much better one for all is after each length."""
    figure = matplotlib.figure.Figure(figsize=SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    for alpha in sorted({one.alpha for one in results}):
        colour = f"C{ALPHAS.index(alpha)}"
        lengths = sorted({one.epochs for one in results if one.alpha == alpha})
        for epochs in lengths:
            found = by_resolution(results, alpha, epochs)
            label = f"α {alpha:g}, {epochs} epochs"
            gains = [gain(own, one) for own, one in found.values()]
            _errors(right, list(found), gains, colour, epochs == lengths[-1], label)
        for part, name in enumerate(("one for each", ONE_FOR_ALL)):
            of = [sides[part] for sides in found.values()]
            macs, means = [one[0].macs for one in of], [_top1(one) for one in of]
            _errors(left, macs, means, colour, not part, f"{label}, {name}")
    left.set(title="After the longest trainings, at 128 to 224 pixels", ylabel="top-1, %")
    left.margins(y=0.45)  # or the legend would be in the way
    left.legend(loc="lower right", fontsize="small")
    macs_axis(left, "MACs for one image")
    right.axhline(0, color="black", linewidth=0.8)
    right.set(title="What one for all gains", xlabel="resolution, pixels", ylabel="points of top-1")
    right.set_xticks(sorted({one.resolution for one in results}))
    right.legend()
    figure.savefig(target, dpi=110)


def _errors(axes: Any, places: Sequence[float], means: Sequence[Mean], colour: str, solid: bool, label: str) -> None:
    axes.errorbar(
        places,
        [100 * mean.value for mean in means],
        [100 * mean.error for mean in means],
        color=colour,
        linestyle="-" if solid else "--",
        marker="o",
        markersize=4,
        capsize=3,
        label=label,
    )


def multipliers(target: Path) -> None:
    """Draw top-1 against MACs of all variants: of the published checkpoints, and of the bundled weights."""
    figure = matplotlib.figure.Figure(figsize=SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    published = [(variant, score.checkpoint_top1) for variant, score in PUBLISHED.items()]
    measured = [
        (Variant(score.alpha, score.resolution), score.top1 * 100)
        for score in scores.read()
        if score.precision == "float32"
    ]
    _lines(left, published, IMAGENET_CLASSES)
    left.set(title="Published checkpoints: ImageNet, 1,000 classes", ylabel="top-1, %")
    _lines(right, measured, 10)
    right.set(title="Bundled weights: Imagenette, 10 classes")
    figure.savefig(target, dpi=110)


def _of(results: Iterable[TrainingResult], epochs: int) -> list[list[TrainingResult]]:
    return [own for (_, length), own in by_training(results).items() if length == epochs]


def _top1(results: Sequence[TrainingResult]) -> Mean:
    return Mean.of([one.top1 for one in results])


def _points(axes: Any, points: Sequence[tuple[str, float, Mean]]) -> None:
    for name, macs, top1 in points:
        height, error = 100 * top1.value, 100 * top1.error
        axes.errorbar(macs, height, error, color=COLOURS[name], marker="o", markersize=8, capsize=4)
        left = name == "full convolution"  # there is no room on the right of it
        axes.annotate(
            name,
            (macs, height),
            (-9 if left else 9, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
        )
    axes.margins(0.25)
    macs_axis(axes, "MACs for one image")


def _lines(axes: Any, scores: Sequence[tuple[Variant, float]], classes: int) -> None:
    for alpha in ALPHAS:
        own = sorted((cost(variant, classes).macs, top1) for variant, top1 in scores if variant.alpha == alpha)
        if own:
            colour = f"C{ALPHAS.index(alpha)}"
            axes.plot(*zip(*own, strict=True), marker="o", color=colour, label=f"α {alpha:g}, 128 to 224 pixels")
    axes.legend(loc="lower right")
    macs_axis(axes, "MACs for one image")

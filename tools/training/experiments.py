"""The paper's experiments at a small scale: networks trained alike, from random weights, and what they score.

Full convolution against separable (paper, table 4) and shallow against narrow (table 5). `train` does one network after
the other and may be stopped: the same command goes on where it was. `report` draws what `docs/mobilenet.md` shows.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import keras
import matplotlib.figure
import numpy as np
import typer

from app.mobilenet import network
from app.mobilenet.ablations import ABLATIONS, Architecture, full_convolution, shallow
from app.mobilenet.architecture import IMAGENET_CLASSES, layers
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import ALPHAS, BASE, PUBLISHED, Variant
from app.model import scores
from tools.training.crops import Views
from tools.training.photos import Photos, split
from tools.training.run import BATCH, HeldOut, Plan, Run, evaluate, fit
from tools.training.train import batches
from tools.training.trainer import Trainer
from tools.weights.axis import price

RESOLUTION = 128
COLOURS = {"separable": "tab:blue", "shallow": "tab:green", "narrow": "tab:orange", "full convolution": "tab:purple"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One network of an experiment."""

    name: str
    architecture: Architecture
    alpha: float

    def cost(self, classes: int) -> Cost:
        """Count what it costs."""
        return Cost.of(self.architecture(self.alpha, RESOLUTION, classes))

    def build(self, classes: int) -> keras.Model:
        """Return it in Keras with random weights; float32 pixels in."""
        return network.assemble(self.architecture(self.alpha, RESOLUTION, classes), RESOLUTION, input_dtype="float32")


def candidates(alpha: float) -> list[Candidate]:
    """Return the networks to compare; the narrow one is about as cheap as the shallow one, as in the paper."""
    return [
        Candidate("separable", layers, alpha),
        Candidate("shallow", shallow, alpha),
        Candidate("narrow", layers, 0.75 * alpha),
        Candidate("full convolution", full_convolution, alpha),
    ]


@dataclass(frozen=True, slots=True)
class Result:
    """What one training came to; top-1 is a share, 0 to 1, of validation photos that nothing else was done with."""

    network: str
    alpha: float
    resolution: int
    seed: int
    epochs: int
    macs: int
    parameters: int
    images: int
    top1: float
    train_accuracy: float
    minutes: float

    @property
    def key(self) -> tuple[str, float, int, int]:
        """Which training it is of."""
        return self.network, self.alpha, self.seed, self.epochs

    @property
    def standard_error(self) -> float:
        """Of the top-1, by the number of photos; other weights and another order of batches add to it."""
        return math.sqrt(self.top1 * (1 - self.top1) / self.images)


def read(path: Path) -> list[Result]:
    """Read a file of results; there are none without the file."""
    return [Result(**item) for item in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def write(path: Path, results: Sequence[Result]) -> None:
    """Write a file of results."""
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", encoding="utf-8")


def measure(candidate: Candidate, photos: Photos, validation: HeldOut, plan: Plan, folder: Path) -> Result:
    """Train a network, or what is left of it, in a folder of its own; return what it scores on validation photos."""
    run = Run(folder / f"{candidate.name.replace(' ', '-')}-{candidate.alpha:g}-{plan.epochs}-epochs-{plan.seed}")
    run.folder.mkdir(parents=True, exist_ok=True)
    typer.echo(f"{run.folder.name} @ {RESOLUTION}")
    keras.utils.set_random_seed(plan.seed)
    indices, held_out = split(len(photos.labels), plan.seed)
    views = Views.draw(photos, indices, None, plan.seed, folder)
    trainer = Trainer(partial(candidate.build, len(photos.wnids)), views.temperature, plan.seed)
    held_out_photos = HeldOut.of(photos, held_out, [RESOLUTION])
    rows = fit(trainer, partial(batches, views), held_out_photos, plan, run)
    total = candidate.cost(len(photos.wnids))
    return Result(
        network=candidate.name,
        alpha=candidate.alpha,
        resolution=RESOLUTION,
        seed=plan.seed,
        epochs=plan.epochs,
        macs=total.macs,
        parameters=total.parameters,
        images=len(validation.labels),
        top1=round(evaluate(trainer, validation, RESOLUTION)[1], 4),
        train_accuracy=round(rows[-1]["train_accuracy"], 4),
        minutes=round(sum(row["seconds"] for row in rows) / 60, 1),
    )


cli = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@cli.command()
def train(
    run: Annotated[Path, typer.Option(help="Folder of the trainings and of results.json.")],
    photos: Annotated[Path, typer.Option(help="Folder of the decoded photos; default: the folder of --run.")] = Path(),
    data: Annotated[Path, typer.Option(help="Folder with train/ and val/.")] = Path("../shared/data/imagenette"),
    alpha: Annotated[float, typer.Option(help="Width of the networks that are not the narrow one.")] = 0.25,
    epochs: Annotated[int, typer.Option(help="Length of each training.")] = 16,
    seeds: Annotated[int, typer.Option(help="Trainings of each network, each with another seed.")] = 1,
) -> None:
    """Train every network with every seed on equal terms, or what is left of that."""
    run.mkdir(parents=True, exist_ok=True)
    cache = run if photos == Path() else photos
    training = Photos.load(data / "train", cache)
    held_back = Photos.load(data / "val", cache)
    validation = HeldOut.of(held_back, np.arange(len(held_back.labels)), [RESOLUTION])
    results = read(run / "results.json")
    steps = len(split(len(training.labels), 0)[0]) // BATCH
    for seed in range(seeds):
        plan = Plan(epochs, steps, seed, phases=((1.0, {RESOLUTION: 1.0}),))
        for candidate in candidates(alpha):
            if (candidate.name, candidate.alpha, seed, epochs) not in [result.key for result in results]:
                results.append(measure(candidate, training, validation, plan, run))
                write(run / "results.json", results)
    for one in results:
        typer.echo(f"{one.network:18}{one.macs:>13,}{one.parameters:>11,}{one.top1:>8.2%} ± {one.standard_error:.2%}")


@cli.command()
def report(
    results: Annotated[Path, typer.Option(help="The results.json of the trainings.", exists=True)],
    docs: Annotated[Path, typer.Option(help="Folder of the results that are shown, and of their pictures.")] = Path(
        "docs"
    ),
) -> None:
    """Copy the results into the documentation, and draw them beside the published ones."""
    found = read(results)
    write(docs / "experiments.json", found)
    figure = matplotlib.figure.Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _points(left, [(name, macs, top1) for name, (macs, top1) in paper().items()])
    left.set(title="The paper: ImageNet, α 1 @ 224", ylabel="top-1, %")
    _points(right, [(one.network, one.macs, one.top1 * 100) for one in found])
    right.set(title=f"Here: Imagenette, α {found[0].alpha:g} @ {RESOLUTION}, {found[0].epochs} epochs")
    figure.savefig(docs / "experiments.png", dpi=110)
    figure = matplotlib.figure.Figure(figsize=(10, 4.2), layout="constrained")
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
    figure.savefig(docs / "multipliers.png", dpi=110)


def paper() -> dict[str, tuple[int, float]]:
    """Return the MACs and the ImageNet top-1 in per cent of the networks of tables 4 and 5 of the paper."""
    networks = {item.name: (item.layers, item.paper_top1) for item in ABLATIONS}
    found = {
        name: (Cost.of(architecture(1.0, 224, IMAGENET_CLASSES)).macs, top1)
        for name, (architecture, top1) in networks.items()
        if top1 is not None
    }
    for name, variant in (("separable", BASE), ("narrow", Variant(0.75, BASE.resolution))):
        top1 = PUBLISHED[variant].paper_top1
        assert top1 is not None
        found[name] = cost(variant).macs, top1
    return found


def _points(axes: Any, points: Sequence[tuple[str, float, float]]) -> None:
    for name, macs, top1 in points:
        axes.scatter(macs, top1, color=COLOURS[name], s=60, zorder=3)
        axes.annotate(name, (macs, top1), (0, 9), textcoords="offset points", ha="center")
    axes.margins(0.25)
    price(axes, "MACs for one image")


def _lines(axes: Any, scores: Sequence[tuple[Variant, float]], classes: int) -> None:
    for alpha in ALPHAS:
        own = sorted((cost(variant, classes).macs, top1) for variant, top1 in scores if variant.alpha == alpha)
        if own:
            colour = f"C{ALPHAS.index(alpha)}"
            axes.plot(*zip(*own, strict=True), marker="o", color=colour, label=f"α {alpha:g}, 128 to 224 pixels")
    axes.legend(loc="lower right")
    price(axes, "MACs for one image")


if __name__ == "__main__":
    cli()

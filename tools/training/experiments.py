"""Repeats two experiments of the paper at a small scale: trains networks in the same way and compares their accuracy.

The experiments are full against separable convolution (table 4 of the paper) and shallow against narrow (table 5).
`train` trains one network after the other. It may be stopped at any time: the same command then continues. `report`
draws the pictures of docs/mobilenet.md.
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
from app.training.schedule import BATCH, Schedule
from app.training.trainer import Trainer
from tools.training.crops import Crops
from tools.training.photos import Photos, split
from tools.training.run import HeldOut, TrainingFolder, evaluate, fit
from tools.training.train import batches
from tools.weights.axis import macs_axis

RESOLUTION = 128
COLOURS = {"separable": "tab:blue", "shallow": "tab:green", "narrow": "tab:orange", "full convolution": "tab:purple"}


@dataclass(frozen=True, slots=True)
class ComparedNetwork:
    """One of the networks of an experiment."""

    name: str
    architecture: Architecture
    alpha: float

    def cost(self, classes: int) -> Cost:
        """Return the cost of the network."""
        return Cost.of(self.architecture(self.alpha, RESOLUTION, classes))

    def build(self, classes: int) -> keras.Model:
        """Return the network in Keras, with random weights. It takes float32 pixels, 0 to 255."""
        return network.assemble(self.architecture(self.alpha, RESOLUTION, classes), RESOLUTION, input_dtype="float32")


def compared_networks(alpha: float) -> list[ComparedNetwork]:
    """Return the networks to compare. As in the paper, the narrow one costs about as much as the shallow one."""
    return [
        ComparedNetwork("separable", layers, alpha),
        ComparedNetwork("shallow", shallow, alpha),
        ComparedNetwork("narrow", layers, 0.75 * alpha),
        ComparedNetwork("full convolution", full_convolution, alpha),
    ]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of one training. `top1` is a share, 0 to 1, of validation photos that were used for nothing else."""

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
        """Identifies the training."""
        return self.network, self.alpha, self.seed, self.epochs

    @property
    def standard_error(self) -> float:
        """The standard error of the top-1 that comes from the number of photos; another seed would add to it."""
        return math.sqrt(self.top1 * (1 - self.top1) / self.images)


def read(path: Path) -> list[TrainingResult]:
    """Read a file of results; the list is empty if there is no file."""
    return [TrainingResult(**item) for item in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def write(path: Path, results: Sequence[TrainingResult]) -> None:
    """Write a file of results."""
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", encoding="utf-8")


def measure(
    compared: ComparedNetwork, photos: Photos, validation: HeldOut, schedule: Schedule, folder: Path
) -> TrainingResult:
    """Train a network in a folder of its own, or finish its training; return its accuracy on the validation photos."""
    run = TrainingFolder(
        folder / f"{compared.name.replace(' ', '-')}-{compared.alpha:g}-{schedule.epochs}-epochs-{schedule.seed}"
    )
    run.folder.mkdir(parents=True, exist_ok=True)
    typer.echo(f"{run.folder.name} @ {RESOLUTION}")
    keras.utils.set_random_seed(schedule.seed)
    indices, held_out = split(len(photos.labels), schedule.seed)
    crops = Crops.draw(photos, indices, None, schedule.seed, folder)
    model, average = (compared.build(len(photos.wnids)) for _ in range(2))
    trainer = Trainer(model, average, crops.temperature, schedule.seed)
    held_out_photos = HeldOut.of(photos, held_out, [RESOLUTION])
    rows = fit(trainer, partial(batches, crops), held_out_photos, schedule, run)
    total = compared.cost(len(photos.wnids))
    return TrainingResult(
        network=compared.name,
        alpha=compared.alpha,
        resolution=RESOLUTION,
        seed=schedule.seed,
        epochs=schedule.epochs,
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
    run: Annotated[Path, typer.Option(help="Folder for the trainings and for results.json.")],
    photos: Annotated[Path, typer.Option(help="Folder for the decoded photos. Default: the one of --run.")] = Path(),
    data: Annotated[Path, typer.Option(help="Folder with train/ and val/.")] = Path("../shared/data/imagenette"),
    alpha: Annotated[float, typer.Option(help="Width multiplier of all networks but the narrow one.")] = 0.25,
    epochs: Annotated[int, typer.Option(help="Number of epochs of each training.")] = 16,
    seeds: Annotated[int, typer.Option(help="How often each network is trained, each time with another seed.")] = 1,
) -> None:
    """Train every network with every seed, all in the same way; trainings that are finished are not repeated."""
    run.mkdir(parents=True, exist_ok=True)
    cache = run if photos == Path() else photos
    training = Photos.load(data / "train", cache)
    held_back = Photos.load(data / "val", cache)
    validation = HeldOut.of(held_back, np.arange(len(held_back.labels)), [RESOLUTION])
    results = read(run / "results.json")
    steps = len(split(len(training.labels), 0)[0]) // BATCH
    for seed in range(seeds):
        schedule = Schedule(epochs, steps, seed, phases=((1.0, {RESOLUTION: 1.0}),))
        for compared in compared_networks(alpha):
            if (compared.name, compared.alpha, seed, epochs) not in [result.key for result in results]:
                results.append(measure(compared, training, validation, schedule, run))
                write(run / "results.json", results)
    for one in results:
        typer.echo(f"{one.network:18}{one.macs:>13,}{one.parameters:>11,}{one.top1:>8.2%} ± {one.standard_error:.2%}")


@cli.command()
def report(
    results: Annotated[Path, typer.Option(help="The results.json of the trainings.", exists=True)],
    docs: Annotated[Path, typer.Option(help="Folder for the results and their pictures.")] = Path("docs"),
) -> None:
    """Copy the results into the documents, and draw them beside the published ones."""
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
    """Return the MACs, and the ImageNet top-1 in per cent, of the networks in tables 4 and 5 of the paper."""
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
    macs_axis(axes, "MACs for one image")


def _lines(axes: Any, scores: Sequence[tuple[Variant, float]], classes: int) -> None:
    for alpha in ALPHAS:
        own = sorted((cost(variant, classes).macs, top1) for variant, top1 in scores if variant.alpha == alpha)
        if own:
            colour = f"C{ALPHAS.index(alpha)}"
            axes.plot(*zip(*own, strict=True), marker="o", color=colour, label=f"α {alpha:g}, 128 to 224 pixels")
    axes.legend(loc="lower right")
    macs_axis(axes, "MACs for one image")


if __name__ == "__main__":
    cli()

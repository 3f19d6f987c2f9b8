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
from typing import Annotated

import keras
import numpy as np
import typer

from app.mobilenet import network
from app.mobilenet.ablations import Architecture, full_convolution, shallow
from app.mobilenet.architecture import layers
from app.mobilenet.cost import Cost
from tools.train import Plan, Run, fit, split
from tools.trainer import BATCH, HeldOut, Trainer
from tools.views import Photos, Views

RESOLUTION = 128


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


def read(path: Path) -> list[Result]:
    """Read a file of results; there are none without the file."""
    return [Result(**item) for item in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def write(path: Path, results: Sequence[Result]) -> None:
    """Write a file of results."""
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", encoding="utf-8")


def measure(candidate: Candidate, photos: Photos, validation: HeldOut, plan: Plan, folder: Path) -> Result:
    """Train a network, or what is left of it, in a folder of its own; return what it scores on validation photos."""
    run = Run(folder / f"{candidate.name.replace(' ', '-')}-{candidate.alpha:g}-{plan.seed}")
    run.folder.mkdir(parents=True, exist_ok=True)
    typer.echo(f"{run.folder.name}: {plan.epochs} epochs @ {RESOLUTION}")
    keras.utils.set_random_seed(plan.seed)
    indices, held_out = split(len(photos.labels), plan.seed)
    views = Views.draw(photos, indices, None, plan.seed, folder)
    trainer = Trainer(partial(candidate.build, len(photos.wnids)), views.temperature, plan.seed)
    rows = fit(trainer, views, HeldOut.of(photos, held_out, [RESOLUTION]), plan, run)
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
        top1=round(trainer.evaluate(validation, RESOLUTION)[1], 4),
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
    """Train every network with every seed on equal terms; skip what results.json has."""
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
            if not any((candidate.name, candidate.alpha, seed) == (r.network, r.alpha, r.seed) for r in results):
                results.append(measure(candidate, training, validation, plan, run))
                write(run / "results.json", results)
    for result in results:
        error = math.sqrt(result.top1 * (1 - result.top1) / result.images)
        typer.echo(f"{result.network:18}{result.macs:>13,}{result.parameters:>11,}{result.top1:>8.2%} ± {error:.2%}")


if __name__ == "__main__":
    cli()

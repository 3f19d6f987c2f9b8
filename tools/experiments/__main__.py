"""Repeats experiments of the paper at a small scale: trains networks in the same way and compares their accuracy.

`architecture` compares full with separable convolution (table 4 of the paper), and shallow with narrow (table 5).
`resolution` compares networks that were each trained at a resolution of their own (table 7) with one for all.
`train` trains all networks with one seed. It may be stopped at any time: the same command then continues, and with
more epochs it goes on from what is there. `report` writes the results and their pictures into docs/.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from tools.experiments import report, results, trainings
from tools.experiments.cohort import Cohort
from tools.experiments.networks import Experiment
from tools.training.photos import Photos
from tools.training.run import HeldOut

Differ = Annotated[Experiment, typer.Option("--experiment", help="What the networks differ in.")]

cli = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@cli.command()
def train(
    run: Annotated[Path, typer.Option(help="Folder for checkpoints, results and the decoded photos.")],
    experiment: Differ = Experiment.ARCHITECTURE,
    seed: Annotated[int, typer.Option(help="Determines the first weights, the crops and their order.")] = 0,
    epochs: Annotated[int, typer.Option(help="The longest training: 4, 8, 16, …; shorter ones are made, too.")] = 32,
    alpha: Annotated[float, typer.Option(help="Width multiplier of all networks but the narrow one.")] = 0.25,
    data: Annotated[Path, typer.Option(help="Folder with train/ and val/.")] = Path("../shared/data/imagenette"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Threads on a CPU. Better start one process for each seed.")] = 1,
) -> None:
    """Train every network with one seed, all on the same crops, and write their results."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    folder = run / f"{experiment}-{alpha:g}-seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    held_back = Photos.load(data / "val", run)
    networks = experiment.networks(alpha)
    sides = sorted({side for one in networks for side in one.measured})
    validation = HeldOut.of(held_back, np.arange(len(held_back.labels)), sides)
    cohort = Cohort.begin(networks, Photos.load(data / "train", run), seed, device)
    try:
        trainings.train(cohort, networks, validation, epochs, folder)
    except (ValueError, FileNotFoundError) as exc:
        raise typer.BadParameter(str(exc)) from exc
    typer.echo(f"{folder / trainings.RESULTS} has all trainings of up to {epochs} epochs")


@cli.command(name="report")
def draw(
    run: Annotated[Path, typer.Option(help="The folder of the trainings, with two seeds or more.", exists=True)],
    experiment: Differ = Experiment.ARCHITECTURE,
    alpha: Annotated[list[float], typer.Option(help="Width multiplier of the trainings. May be repeated.")] = [0.25],  # noqa: B006
    docs: Annotated[Path, typer.Option(help="Folder for the results and their pictures.")] = Path("docs"),
    photos: Annotated[int, typer.Option(help="How many photos an epoch has.")] = 9408,
) -> None:
    """Copy the results into the documents, and draw them. Architectures are compared at one width multiplier."""
    if experiment is Experiment.ARCHITECTURE and len(alpha) > 1:
        raise typer.BadParameter("architectures are compared at one width multiplier, so --alpha may be given once")
    found = [one for width in alpha for one in _finished(run, experiment, width)]
    results.write(docs / f"{experiment}s.json", found)
    if experiment is Experiment.RESOLUTION:
        report.resolutions(found, docs / "resolutions.png")
        return
    report.comparison(found, docs / "experiments.png")
    report.convergence(found, photos, docs / "convergence.png")
    report.multipliers(docs / "multipliers.png")


def _finished(run: Path, experiment: Experiment, alpha: float) -> list[results.TrainingResult]:
    found = [results.read(path) for path in sorted(run.glob(f"{experiment}-{alpha:g}-seed-*/{trainings.RESULTS}"))]
    if len(found) < 2:
        raise typer.BadParameter(f"{run} has results of {len(found)} seeds at α {alpha:g}; an error needs two or more")
    return results.of_every_seed(found)


if __name__ == "__main__":
    cli()

"""The trainings of one seed: the steady one, and those of each length, with their checkpoints and results."""

from pathlib import Path

import typer

from tools.experiments import results
from tools.experiments.cohort import Cohort
from tools.experiments.networks import ComparedNetwork
from tools.experiments.plan import branch_epoch, falling_rate, lengths, steady_rate
from tools.experiments.results import TrainingResult
from tools.training.run import HeldOut

RESULTS = "results.json"


def train(cohort: Cohort, networks: list[ComparedNetwork], validation: HeldOut, longest: int, folder: Path) -> None:
    """Make the trainings of all lengths up to `longest` epochs that the folder does not have.

    The folder has a checkpoint of the steady training, one of each length, and the results. Raises `ValueError` if
    `longest` is not 4, 8, 16, …, and `FileNotFoundError` if the steady training has gone past a length that is missing.
    """
    steady, path = folder / "steady", folder / RESULTS
    for length in lengths(longest):
        found = results.read(path)
        if any(one.epochs == length for one in found):
            continue
        branch = folder / f"{length}-epochs"
        if branch.exists():
            cohort.read(branch)
        else:
            if steady.exists():
                cohort.read(steady)
            cohort.train(branch_epoch(length), steady_rate, steady)
        if not branch_epoch(length) <= cohort.epochs <= length:
            raise FileNotFoundError(f"{steady} has {cohort.epochs} epochs; {branch}, which began earlier, is missing")
        cohort.train(length, falling_rate(length), branch)
        measured = measure(cohort, networks, validation)
        results.write(path, [*found, *measured])
        for one in measured:
            typer.echo(f"seed {one.seed}, {length} epochs, {one.network}, {one.resolution} pixels: {one.top1:.2%}")


def measure(cohort: Cohort, networks: list[ComparedNetwork], validation: HeldOut) -> list[TrainingResult]:
    """Return the results of the networks as they are now."""
    cohort.settle()
    return [_measured(cohort, one, validation, resolution) for one in networks for resolution in one.measured]


def _measured(cohort: Cohort, network: ComparedNetwork, validation: HeldOut, resolution: int) -> TrainingResult:
    member, total = cohort.members[network.name], network.cost(resolution, len(cohort.photos.wnids))
    return TrainingResult(
        network=network.name,
        alpha=network.alpha,
        resolution=resolution,
        seed=cohort.seed,
        epochs=cohort.epochs,
        macs=total.macs,
        parameters=total.parameters,
        images=len(validation.labels),
        top1=round(cohort.top1(network.name, validation, resolution), 4),
        train_accuracy=round(member.accuracy, 4),
        cpu_seconds=round(member.seconds),
    )

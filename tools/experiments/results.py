"""The results of the trainings, one row for each network, resolution, seed and length."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from statistics import fmean, stdev

from tools.training.photos import write_whole

ONE_FOR_ALL = "one for all"
"""The name of the network that learns at a mixture of resolutions and serves all of them."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of one training.

    `top1` is a share, 0 to 1, of `images` validation photos, which it had not seen, and `train_accuracy` one
    of the training crops in the last epoch. `cpu_seconds` are those of the thread in which the network learnt, from the
    beginning; cutting the photos is left out.
    """

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
    cpu_seconds: float


Side = tuple[list[TrainingResult], list[TrainingResult]]
"""The results of all seeds at one resolution: of the network that learnt at it, and of the one for all."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over the seeds, and its standard error. Both are shares, 0 to 1.

    All seeds answer to the same photos, so the error does not contain that other photos might be easier.
    """

    value: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Return the mean of values, at least two of them, and its error by their spread."""
        return cls(fmean(values), stdev(values) / math.sqrt(len(values)))


def by_training(results: Iterable[TrainingResult]) -> dict[tuple[str, int], list[TrainingResult]]:
    """Return the results of all seeds, by the name of the network and the number of epochs."""
    key = attrgetter("network", "epochs")
    return {name: list(found) for name, found in groupby(sorted(results, key=key), key)}


def by_resolution(results: Iterable[TrainingResult], alpha: float, epochs: int) -> dict[int, Side]:
    """Return the results at α after so many epochs, by the resolution in pixels, the lowest first."""
    key = attrgetter("resolution")
    own = sorted((one for one in results if (one.alpha, one.epochs) == (alpha, epochs)), key=key)
    return {side: _parted(found) for side, found in groupby(own, key)}


def _parted(results: Iterable[TrainingResult]) -> Side:
    own: list[TrainingResult] = []
    one: list[TrainingResult] = []
    for result in results:
        (one if result.network == ONE_FOR_ALL else own).append(result)
    return own, one


def gain(own: Sequence[TrainingResult], one: Sequence[TrainingResult]) -> Mean:
    """Return by how much the second network is better; both have the same seeds, which are compared in pairs."""
    others = {result.seed: result.top1 for result in own}
    return Mean.of([result.top1 - others[result.seed] for result in one])


def read(path: Path) -> list[TrainingResult]:
    """Read a file of results; the list is empty if there is no file."""
    return [TrainingResult(**item) for item in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def write(path: Path, results: Iterable[TrainingResult]) -> None:
    """Write a file of results."""
    rows = ",\n".join(json.dumps(asdict(result)) for result in results)
    write_whole(path, lambda file: file.write(f"[\n{rows}\n]\n".encode()))


def of_every_seed(seeds: Sequence[Sequence[TrainingResult]]) -> list[TrainingResult]:
    """Return the results of all seeds, without the lengths that a seed has not finished."""
    finished = set.intersection(*({one.epochs for one in own} for own in seeds))
    return [one for own in seeds for one in own if one.epochs in finished]

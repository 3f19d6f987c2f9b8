"""Train a MobileNetV1 from random weights on a folder of photos: one file of weights for every resolution.

The same command with the same `--run` goes on after the last finished epoch. The recipe suits a small network, few
photos and a CPU: low resolutions first and all of them mixed at the end, soft labels of a teacher, and a moving
average of the weights, which is what is evaluated and exported.
"""

import csv
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf
import typer
from tqdm import tqdm

from app.mobilenet import network
from tools.trainer import BATCH, LEARNING_RATE, REPORT, HeldOut, Trainer
from tools.views import VIEWS, Floats, Indices, Photos, Pixels, Teacher, Views, write_whole
from tools.widen import begin_as

Shares = dict[int, float]
Row = dict[str, float]

T = TypeVar("T")

Phases = tuple[tuple[float, Shares], ...]

PHASES: Phases = (
    (0.35, {96: 1.0}),
    (0.70, {128: 1.0}),
    (1.00, {96: 0.15, 128: 0.45, 160: 0.25, 192: 0.10, 224: 0.05}),
)
"""Until which part of the training each resolution has which share of the batches.

Low resolutions first because they are cheap. The mix at the end makes one file serve all; it leans towards the small
ones, where a network errs most.
"""
WATCHED = (128, 160)
"""The resolutions that are evaluated after every epoch."""

AHEAD = 4
HELD_OUT = 0.05
WARM_UP = 0.03


@dataclass(frozen=True, slots=True)
class Plan:
    """The schedule of a training of `epochs` epochs of `steps` batches; epochs and batches count from 0."""

    epochs: int
    steps: int
    seed: int
    phases: Phases = PHASES
    highest_rate: float = LEARNING_RATE

    def shares(self, epoch: int) -> Shares:
        """Return the resolutions of this epoch's batches, and the share of each."""
        return next(shares for end, shares in self.phases if epoch < round(end * self.epochs))

    def cost(self, epoch: int) -> float:
        """Return what an epoch costs beside others: the mean number of pixels of an image."""
        return sum(share * resolution**2 for resolution, share in self.shares(epoch).items())

    def seconds_left(self, epoch: int, seconds: float) -> float:
        """Return how long the epochs after this one will take if this one took so many seconds."""
        return seconds * sum(map(self.cost, range(epoch + 1, self.epochs))) / self.cost(epoch)

    def learning_rate(self, number: int) -> float:
        """Return the rate at the given batch of all: linear warm-up, then half a cosine down to 0."""
        progress = number / (self.epochs * self.steps)
        if progress < WARM_UP:
            return self.highest_rate * progress / WARM_UP
        return self.highest_rate * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


Batches = Callable[[Plan, int], Iterator[tuple[Any, ...]]]
"""Gives the batches of an epoch: each is what `Trainer.step` takes after its number."""


def ahead(calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield what the calls return, made ahead in a thread."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def batches(views: Views, plan: Plan, epoch: int) -> Iterator[tuple[Pixels, Floats]]:
    """Yield an epoch's shuffled batches, uint8 `[64, r, r, 3]` and targets `[64, classes]`."""
    rng = np.random.default_rng((plan.seed, epoch))
    shares = plan.shares(epoch)

    def calls() -> Iterator[Callable[[], tuple[Pixels, Floats]]]:
        for rows in rng.permutation(len(views.indices))[: plan.steps * BATCH].reshape(-1, BATCH):
            resolution = int(rng.choice(list(shares), p=list(shares.values())))
            columns, mirror = rng.integers(views.targets.shape[1], size=BATCH), rng.random(BATCH) < 0.5
            yield partial(views.batch, rows, columns, mirror, resolution)

    return ahead(calls())


def train_epoch(trainer: Trainer, batches: Batches, plan: Plan, epoch: int) -> Row:
    """Train one epoch; return its mean loss and accuracy."""
    results = []
    with tqdm(total=plan.steps * BATCH, unit=" images", desc=f"epoch {epoch + 1}/{plan.epochs}", mininterval=2) as bar:
        for number, batch in enumerate(batches(plan, epoch), start=epoch * plan.steps):
            trainer.optimizer.learning_rate.assign(plan.learning_rate(number))
            results.append(trainer.step(tf.constant(number), *batch))
            bar.update(BATCH)
    loss, accuracy = np.mean(np.array(results, np.float64), axis=0)
    rate = plan.learning_rate(epoch * plan.steps)
    return {"learning_rate": rate, "train_loss": float(loss), "train_accuracy": float(accuracy)}


def evaluate_epoch(trainer: Trainer, held_out: HeldOut) -> Row:
    """Return the mean held-out loss and the accuracy of each watched resolution that there are photos of."""
    scores = {
        resolution: trainer.evaluate(held_out, resolution) for resolution in WATCHED if resolution in held_out.pixels
    }
    accuracies = {f"held_out_accuracy_{resolution}": accuracy for resolution, (_, accuracy) in scores.items()}
    return {"held_out_loss": sum(loss for loss, _ in scores.values()) / len(scores), **accuracies}


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of one training: checkpoint, table of epochs, curve and averaged weights."""

    folder: Path

    def restore(self, trainer: Trainer) -> int:
        """Load the checkpoint if there is one; return the number of finished epochs."""
        path = self.folder / "checkpoint.npz"
        if not path.exists():
            return 0
        with np.load(path) as checkpoint:
            for number, variable in enumerate(trainer.variables):
                variable.assign(checkpoint[f"v{number}"])
            return int(checkpoint["epochs"])

    def save(self, trainer: Trainer, epochs: int) -> None:
        """Write the checkpoint and the averaged weights."""
        # Keras accepts this ending only.
        part = self.folder / "part.weights.h5"
        trainer.average.save_weights(part)
        part.replace(self.folder / "average.weights.h5")
        arrays: dict[str, Any] = {f"v{number}": np.asarray(v) for number, v in enumerate(trainer.variables)}
        write_whole(self.folder / "checkpoint.npz", lambda file: np.savez(file, epochs=epochs, **arrays))

    def rows(self, epochs: int) -> list[Row]:
        """Read the table's rows of the finished epochs."""
        path = self.folder / "epochs.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        return [row for row in rows if row["epoch"] <= epochs]

    def write(self, rows: list[Row]) -> None:
        """Write the table."""
        with (self.folder / "epochs.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)

    def plot(self, rows: list[Row]) -> None:
        """Draw loss and accuracy over the epochs."""
        figure = matplotlib.figure.Figure(figsize=(11, 4), layout="constrained")
        for axes, word in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for name in (name for name in rows[0] if word in name):
                axes.plot([row["epoch"] for row in rows], [row[name] for row in rows], label=name.replace("_", " "))
            axes.set(xlabel="epoch", ylabel=word)
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(self.folder / "curve.png", dpi=120)


def fit(trainer: Trainer, batches: Batches, held_out: HeldOut, plan: Plan, run: Run) -> list[Row]:
    """Train what is left of the plan, saving after every epoch; return the table."""
    done = run.restore(trainer)
    rows = run.rows(done)
    for epoch in range(done, plan.epochs):
        start = time.monotonic()
        scores = train_epoch(trainer, batches, plan, epoch) | evaluate_epoch(trainer, held_out)
        seconds = time.monotonic() - start
        rows.append({"epoch": epoch + 1, **scores, "seconds": seconds})
        run.write(rows)
        run.save(trainer, epoch + 1)
        words = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items())
        tqdm.write(f"epoch {epoch + 1}: {words}; {plan.seconds_left(epoch, seconds) / 60:.0f} minutes left")
    return rows


def split(count: int, seed: int) -> tuple[Indices, Indices]:
    """Return the indices to train on and those held out, fixed by the seed."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = round(count * HELD_OUT)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def main(
    run: Annotated[Path, typer.Option(help="Folder of this training; caches of the photos go in its parent.")],
    alpha: Annotated[float, typer.Option(help="Width multiplier.")] = 0.25,
    data: Annotated[Path, typer.Option(help="Folder with train/<WordNet id>/*.")] = Path("../shared/data/imagenette"),
    epochs: Annotated[int, typer.Option(help="Length of the schedule.")] = 170,
    crops: Annotated[int, typer.Option(help="Of each photo; more than epochs are of no use.")] = VIEWS,
    seed: Annotated[int, typer.Option(help="Of the split, the crops, the order and the weights.")] = 0,
    teacher: Annotated[Path | None, typer.Option(help="ImageNet .h5 weights that give soft labels.")] = None,
    teacher_alpha: Annotated[float, typer.Option(help="Width multiplier of the teacher.")] = 0.5,
    teacher_resolution: Annotated[int, typer.Option(help="Pixels a side that the teacher sees.")] = 160,
    start: Annotated[Path | None, typer.Option(help="Keras weights of as many classes to start from.")] = None,
    start_alpha: Annotated[float, typer.Option(help="Their width multiplier, at least half of α.")] = 0.75,
    learning_rate: Annotated[float, typer.Option(help="The highest; lower from good weights.")] = LEARNING_RATE,
) -> None:
    """Train, or go on training, and leave the weights, a table and a curve in the run's folder."""
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    photos = Photos.load(data / "train", run.parent)
    indices, held_out_indices = split(len(photos.labels), seed)
    guide = Teacher(teacher, teacher_alpha, teacher_resolution) if teacher else None
    views = Views.draw(photos, indices, guide, seed, run.parent, crops)
    held_out = HeldOut.of(photos, held_out_indices)
    build = partial(network.build, alpha, None, len(photos.wnids), input_dtype="float32")
    first = partial(begin_as, weights=start, alpha=start_alpha, classes=len(photos.wnids), seed=seed) if start else None
    trainer = Trainer(build, views.temperature, seed, first)
    files = Run(run)
    plan = Plan(epochs, len(indices) // BATCH, seed, highest_rate=learning_rate)
    files.plot(fit(trainer, partial(batches, views), held_out, plan, files))
    for resolution in REPORT:
        typer.echo(f"held-out top-1 @ {resolution}: {trainer.evaluate(held_out, resolution)[1]:.2%}")


if __name__ == "__main__":
    typer.run(main)

"""Runs a training: its schedule, its epochs, and the folder that it writes to and can be continued from."""

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import typer
from tqdm import tqdm

from app.training.schedule import BATCH, Learner, Phases, Schedule
from tools.training.photos import CENTRAL_CROP, Indices, Photos, Pixels, crop, write_whole

Row = dict[str, float]

PHASES: Phases = (
    (0.35, {96: 1.0}),
    (0.70, {128: 1.0}),
    (1.00, {96: 0.15, 128: 0.45, 160: 0.25, 192: 0.10, 224: 0.05}),
)
"""The phases of a training: the part of it at which each ends, and the share of each resolution in its batches.

Low resolutions come first because they are cheap. In the end all are mixed, so that one file of weights serves all of
them. The mixture favours the low ones, at which a network makes most errors.
"""
REPORT = (128, 160, 192, 224)
"""The resolutions that the weights are made for, which are evaluated at the end."""
WATCHED = (128, 160)
"""The resolutions that are evaluated after every epoch."""
TEMPERATURE = 2.0
"""The temperature that softens the answers of a teacher."""
SAVED_EVERY_S = 30.0
"""The least time between two checkpoints, since an epoch takes minutes on a CPU but less than a second on a GPU."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Photos that are not trained on, cropped as the service does it: `[n, r, r, 3]` for each r, and classes `[n]`."""

    pixels: dict[int, Pixels]
    labels: Indices

    @classmethod
    def of(cls, photos: Photos, indices: Indices, resolutions: Sequence[int] = REPORT) -> "HeldOut":
        """Crop these photos, and resize them to each of the resolutions."""
        pixels = {r: np.stack([crop(photos.pixels[i], CENTRAL_CROP, r) for i in indices]) for r in resolutions}
        return cls(pixels, photos.labels[indices])


Batches = Callable[[Schedule, int], Iterator[tuple[Any, ...]]]
"""Returns the batches of an epoch. Each is a tuple of the arguments of `Learner.learn` after number and rate."""


def evaluate(learner: Learner, held_out: HeldOut, resolution: int) -> tuple[float, float]:
    """Return the cross-entropy in nats, and the top-1 accuracy, 0 to 1, at this resolution."""
    pixels, labels = held_out.pixels[resolution], held_out.labels
    parts = [learner.probabilities(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    probabilities = np.concatenate(parts)
    loss = -np.log(probabilities[np.arange(len(labels)), labels] + 1e-9).mean()
    return float(loss), float(np.mean(probabilities.argmax(-1) == labels))


def train_epoch(learner: Learner, batches: Batches, schedule: Schedule, epoch: int) -> Row:
    """Train for one epoch; return its mean loss and accuracy."""
    results = []
    with tqdm(
        total=schedule.steps * schedule.batch,
        unit=" images",
        desc=f"epoch {epoch + 1}/{schedule.epochs}",
        mininterval=2,
    ) as bar:
        for number, batch in enumerate(batches(schedule, epoch), start=epoch * schedule.steps):
            results.append(learner.learn(number, schedule.learning_rate(number), *batch))
            bar.update(schedule.batch)
        # The values are read at the end because reading one waits until the GPU has computed it.
        loss, accuracy = np.mean([[float(value) for value in result] for result in results], axis=0)
    rate = schedule.learning_rate(epoch * schedule.steps)
    return {"learning_rate": rate, "train_loss": float(loss), "train_accuracy": float(accuracy)}


def evaluate_epoch(learner: Learner, held_out: HeldOut) -> Row:
    """Return the mean loss on the held-out photos, and their accuracy at each watched resolution they exist in."""
    scores = {
        resolution: evaluate(learner, held_out, resolution) for resolution in WATCHED if resolution in held_out.pixels
    }
    accuracies = {f"held_out_accuracy_{resolution}": accuracy for resolution, (_, accuracy) in scores.items()}
    return {"held_out_loss": sum(loss for loss, _ in scores.values()) / len(scores), **accuracies}


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """The folder of one training: its arguments, checkpoint, table of epochs and curve, and the averaged weights."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The file from which the training can be continued."""
        return self.folder / "checkpoint"

    def begin(self, arguments: Mapping[str, object]) -> None:
        """Keep the arguments of a training, by the names of its parameters, with paths that hold from everywhere.

        With others it would go on as neither training would have: another seed holds out photos that were learnt from.
        Those that change nothing of what is learnt are left out: `run`, which is the folder, and `device`.
        Raises `typer.BadParameter` if there is a checkpoint of a training that had others.
        """
        path = self.folder / "arguments.json"
        asked = {
            name: str(value.resolve()) if isinstance(value, Path) else value
            for name, value in arguments.items()
            if name not in {"run", "device"}
        }
        if path.exists() and self.checkpoint.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            differing = [name for name in asked if asked[name] != known.get(name, asked[name])]
            if differing:
                had = "; it had ".join(
                    f"--{name.replace('_', '-')} {known[name]}, and not {asked[name]}" for name in differing
                )
                raise typer.BadParameter(f"the training in {self.folder} had {had}; choose another --run for another")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(json.dumps(asked, indent=1).encode()))

    def restore(self, learner: Learner) -> int:
        """Load the checkpoint if there is one; return the number of finished epochs."""
        if not self.checkpoint.exists():
            return 0
        with self.checkpoint.open("rb") as file:
            return learner.read(file)

    def save(self, learner: Learner, epochs: int) -> None:
        """Write the checkpoint and the averaged weights."""
        # Keras accepts only names with this ending.
        part = self.folder / "part.weights.h5"
        learner.save(part)
        part.replace(self.folder / "average.weights.h5")
        write_whole(self.checkpoint, lambda file: learner.write(file, epochs))

    def rows(self, epochs: int) -> list[Row]:
        """Read the rows of the table; rows after so many epochs are left out, as they will be trained again."""
        path = self.folder / "epochs.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        return [row for row in rows if row["epoch"] <= epochs]

    def write(self, rows: list[Row]) -> None:
        """Write the table of epochs."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
        write_whole(self.folder / "epochs.csv", lambda file: file.write(text.getvalue().encode()))

    def plot(self, rows: list[Row]) -> None:
        """Draw the loss and the accuracy over the epochs."""
        figure = matplotlib.figure.Figure(figsize=(11, 4), layout="constrained")
        for axes, word in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for name in (name for name in rows[0] if word in name):
                axes.plot([row["epoch"] for row in rows], [row[name] for row in rows], label=name.replace("_", " "))
            axes.set(xlabel="epoch", ylabel=word)
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(self.folder / "curve.png", dpi=120)


def fit(learner: Learner, batches: Batches, held_out: HeldOut, schedule: Schedule, run: TrainingFolder) -> list[Row]:
    """Train for the epochs that are left in the schedule, and save checkpoints; return the table of all epochs."""
    done = run.restore(learner)
    rows = run.rows(done)
    saved = -math.inf
    for epoch in range(done, schedule.epochs):
        start = time.monotonic()
        scores = train_epoch(learner, batches, schedule, epoch) | evaluate_epoch(learner, held_out)
        seconds = time.monotonic() - start
        rows.append({"epoch": epoch + 1, **scores, "seconds": seconds})
        run.write(rows)
        if epoch + 1 == schedule.epochs or time.monotonic() - saved > SAVED_EVERY_S:
            run.save(learner, epoch + 1)
            saved = time.monotonic()
        words = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items())
        tqdm.write(f"epoch {epoch + 1}: {words}; {seconds_left(schedule, epoch, seconds) / 60:.0f} minutes left")
    return rows


def seconds_left(schedule: Schedule, epoch: int, seconds: float) -> float:
    """Return how many seconds the later epochs will take, if this one took `seconds`."""
    return seconds * sum(cost(schedule, later) for later in range(epoch + 1, schedule.epochs)) / cost(schedule, epoch)


def cost(schedule: Schedule, epoch: int) -> float:
    """Return the cost of an epoch in relation to others, as the mean number of pixels of an image."""
    return sum(share * resolution**2 for resolution, share in schedule.shares(epoch).items())

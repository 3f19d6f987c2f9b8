"""Train a MobileNetV1 on a folder of photos, from random weights; the result is one file for every resolution.

The same command with the same `--run` continues after the last checkpoint; with other arguments it is refused. The
recipe suits a small network, few photos and a CPU: low resolutions first and a mixture of all at the end, soft labels
from a teacher, and a moving average of the weights, which is what is evaluated and saved.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer

from app.mobilenet import network
from app.training.schedule import BATCH, LEARNING_RATE, Schedule
from app.training.trainer import Trainer
from app.training.views import ahead
from tools.training.crops import CROPS_PER_PHOTO, Crops
from tools.training.photos import Floats, Photos, Pixels, split
from tools.training.run import PHASES, REPORT, HeldOut, TrainingFolder, evaluate, fit
from tools.training.teacher import Teacher
from tools.training.widen import start_from


def batches(crops: Crops, schedule: Schedule, epoch: int) -> Iterator[tuple[Pixels, Floats]]:
    """Yield the shuffled batches of an epoch: pixels, uint8 `[64, r, r, 3]`, and targets `[64, classes]`."""
    rng = np.random.default_rng((schedule.seed, epoch))
    shares = schedule.shares(epoch)

    def calls() -> Iterator[Callable[[], tuple[Pixels, Floats]]]:
        for rows in rng.permutation(len(crops.indices))[: schedule.steps * BATCH].reshape(-1, BATCH):
            resolution = int(rng.choice(list(shares), p=list(shares.values())))
            columns, mirror = rng.integers(crops.targets.shape[1], size=BATCH), rng.random(BATCH) < 0.5
            yield partial(crops.batch, rows, columns, mirror, resolution)

    return ahead(calls())


def main(
    context: typer.Context,
    run: Annotated[Path, typer.Option(help="Folder of this training. Decoded photos are cached in its parent.")],
    alpha: Annotated[float, typer.Option(help="Width multiplier.")] = 0.25,
    data: Annotated[Path, typer.Option(help="Folder with train/<WordNet id>/*.")] = Path("../shared/data/imagenette"),
    epochs: Annotated[int, typer.Option(help="Number of epochs in the schedule.")] = 170,
    crops: Annotated[
        int, typer.Option(help="Fixed crops of each photo; more than there are epochs would not be used.")
    ] = CROPS_PER_PHOTO,
    seed: Annotated[int, typer.Option(help="Determines the split, the crops, their order and the first weights.")] = 0,
    teacher: Annotated[Path | None, typer.Option(help="ImageNet .h5 weights of a teacher, for soft labels.")] = None,
    teacher_alpha: Annotated[float, typer.Option(help="Width multiplier of the teacher.")] = 0.5,
    teacher_resolution: Annotated[int, typer.Option(help="Resolution of the teacher in pixels.")] = 160,
    start: Annotated[
        Path | None, typer.Option(help="Keras weights to start from, with the same number of classes.")
    ] = None,
    start_alpha: Annotated[float, typer.Option(help="Their width multiplier, at least half of --alpha.")] = 0.75,
    learning_rate: Annotated[
        float, typer.Option(help="The highest learning rate; choose a lower one to start from good weights.")
    ] = LEARNING_RATE,
) -> None:
    """Train, or continue a training, and write the weights, a table and a curve to the folder of the training."""
    files = TrainingFolder(run)
    files.begin(context.params)
    keras.utils.set_random_seed(seed)
    photos = Photos.load(data / "train", run.parent)
    indices, held_out_indices = split(len(photos.labels), seed)
    guide = Teacher(teacher, teacher_alpha, teacher_resolution) if teacher else None
    drawn = Crops.draw(photos, indices, guide, seed, run.parent, crops)
    held_out = HeldOut.of(photos, held_out_indices)
    build = partial(network.build, alpha, None, len(photos.wnids), input_dtype="float32")
    first = build()
    if start:
        start_from(first, start, start_alpha, len(photos.wnids), seed)
    trainer = Trainer(first, build(), drawn.temperature, seed)
    schedule = Schedule(epochs, len(indices) // BATCH, seed, PHASES, learning_rate)
    files.plot(fit(trainer, partial(batches, drawn), held_out, schedule, files))
    for resolution in REPORT:
        typer.echo(f"held-out top-1 @ {resolution}: {evaluate(trainer, held_out, resolution)[1]:.2%}")


if __name__ == "__main__":
    typer.run(main)

"""Train a MobileNetV1 from random weights on a folder of photos: one file of weights for every resolution.

The same command with the same `--run` goes on after the last finished epoch. The recipe suits a small network, few
photos and a CPU: low resolutions first and all of them mixed at the end, soft labels of a teacher, and a moving
average of the weights, which is what is evaluated and exported.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import keras
import numpy as np
import typer

from app.mobilenet import network
from tools.training.crops import VIEWS, Views
from tools.training.photos import Floats, Photos, Pixels, split
from tools.training.run import BATCH, LEARNING_RATE, REPORT, HeldOut, Plan, Run, evaluate, fit
from tools.training.teacher import Teacher
from tools.training.trainer import Trainer
from tools.training.widen import begin_as

T = TypeVar("T")

AHEAD = 4


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
        typer.echo(f"held-out top-1 @ {resolution}: {evaluate(trainer, held_out, resolution)[1]:.2%}")


if __name__ == "__main__":
    typer.run(main)

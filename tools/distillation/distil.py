"""Train a network further by what a teacher sees in mixed photos: its features, and which of the classes it names.

What `tools.training.train` makes has learnt what ten labels say of some thousand photos. The features of a network
that knows a thousand classes say more of each, and of the mixture of two photos too, which nobody has seen before.
It takes dozens of epochs: minutes on a GPU, for which this is in PyTorch; what it writes are Keras weights.
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from app.mobilenet import network
from app.mobilenet.architecture import IMAGENET_CLASSES
from tools.distillation.batches import Lessons
from tools.distillation.network import MobileNet
from tools.distillation.student import Pupil
from tools.training.photos import Photos, imagenet_classes, split
from tools.training.run import REPORT, HeldOut, Plan, Run, Shares, evaluate, fit

SHARES: Shares = {96: 0.05, 128: 0.30, 160: 0.30, 192: 0.20, 224: 0.15}
LEARNING_RATE = 2e-3
BATCH = 128
SAMPLE = 40
"""Batches that the scale of the features, and the first guess at them, are taken from."""


def read(weights: Path, alpha: float, classes: int) -> list[Any]:
    """Return the arrays of Keras weights."""
    model = network.build(alpha, None, classes)
    model.load_weights(weights)
    return list(model.get_weights())


def sharpened(arrays: list[Any], temperature: float) -> list[Any]:
    """Return weights whose logits are so many times as large: the temperature that was folded in is taken out."""
    *rest, kernel, bias = arrays
    return [*rest, kernel * temperature, bias * temperature]


def teach(weights: Path, alpha: float, photos: Photos, side: int, device: str) -> Lessons:
    """Make the lessons of a teacher, ImageNet weights with labels.json beside them, on the photos not held out."""
    teacher = MobileNet(alpha, IMAGENET_CLASSES).to(device).eval()
    teacher.load(read(weights, alpha, IMAGENET_CLASSES))
    columns = imagenet_classes(weights.with_name("labels.json"), photos.wnids)
    pixels = torch.from_numpy(np.array(photos.pixels)).to(device).permute(0, 3, 1, 2)
    return Lessons(pixels, photos.labels, split(len(photos.labels), 0)[0], teacher, columns, side)


def main(
    run: Annotated[Path, typer.Option(help="Folder of this training; a cache of the photos goes in its parent.")],
    alpha: Annotated[float, typer.Option(help="Width multiplier.")],
    start: Annotated[Path, typer.Option(help="Keras weights to start from.")],
    temperature: Annotated[float, typer.Option(help="That is folded into them, by MANIFEST.toml.")] = 1.0,
    epochs: Annotated[int, typer.Option(help="Length of the schedule.")] = 110,
    data: Annotated[Path, typer.Option(help="Folder with train/<WordNet id>/*.")] = Path("../shared/data/imagenette"),
    teacher: Annotated[Path, typer.Option(help="ImageNet .h5 weights, with labels.json beside them.")] = Path(
        "../shared/data/imagenet/mobilenet_5_0_160_tf.h5"
    ),
    teacher_alpha: Annotated[float, typer.Option(help="Width multiplier of the teacher.")] = 0.5,
    teacher_resolution: Annotated[int, typer.Option(help="Pixels a side that the teacher sees.")] = 192,
    learning_rate: Annotated[float, typer.Option(help="The highest.")] = LEARNING_RATE,
    seed: Annotated[
        int, typer.Option(help="Of the views and their order; the photos held out are those of seed 0.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cuda, or cpu, which takes days.")] = "cuda",
) -> None:
    """Train, or go on training, and leave the weights, a table and a curve in the run's folder."""
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    photos = Photos.load(data / "train", run.parent)
    lessons = teach(teacher, teacher_alpha, photos, teacher_resolution, device)
    held_out = HeldOut.of(photos, split(len(photos.labels), 0)[1])
    plan = Plan(epochs, len(lessons.indices) // BATCH, seed, ((1.0, SHARES),), learning_rate, BATCH)
    pupil = Pupil(alpha, len(photos.wnids), lessons.teacher.classifier.in_features, device)
    pupil.load(sharpened(read(start, alpha, len(photos.wnids)), temperature))
    pupil.guess(islice(lessons(replace(plan, seed=seed + 1), 0), SAMPLE))
    files = Run(run)
    files.plot(fit(pupil, lessons, held_out, plan, files))
    for resolution in REPORT:
        typer.echo(f"held-out top-1 @ {resolution}: {evaluate(pupil, held_out, resolution)[1]:.2%}")


if __name__ == "__main__":
    typer.run(main)

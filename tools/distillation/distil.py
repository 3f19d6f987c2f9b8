"""Train a network further on the features and the answers of a teacher, for blended photos.

A network from `tools.training.train` has learnt from ten labels and some thousand photos. The features of a teacher
that knows a thousand classes say more about each photo, and also about two photos that are blended, of which there is
no end. This takes dozens of epochs, which are minutes on a GPU; that is why it uses PyTorch. It writes Keras weights.
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
from app.training.schedule import Schedule
from tools.distillation.batches import SHARES, TeacherBatches
from tools.distillation.network import MobileNet
from tools.distillation.student import Student
from tools.training.photos import Photos, imagenet_classes, split
from tools.training.run import REPORT, HeldOut, TrainingFolder, evaluate, fit

LEARNING_RATE = 2e-3
BATCH = 128
SAMPLE = 40
"""The number of batches that the first projection, and the scale of the features, are computed from."""


def read(weights: Path, alpha: float, classes: int) -> list[Any]:
    """Return the arrays of a file of Keras weights."""
    model = network.build(alpha, None, classes)
    model.load_weights(weights)
    return list(model.get_weights())


def without_temperature(arrays: list[Any], temperature: float) -> list[Any]:
    """Return weights with logits `temperature` times as large, which takes out a temperature that was folded in."""
    *rest, kernel, bias = arrays
    return [*rest, kernel * temperature, bias * temperature]


def make_batches(weights: Path, alpha: float, photos: Photos, side: int, device: str) -> TeacherBatches:
    """Return the batches of the photos that are not held out; `weights` are the teacher's, with labels.json beside."""
    teacher = MobileNet(alpha, IMAGENET_CLASSES).to(device).eval()
    teacher.load(read(weights, alpha, IMAGENET_CLASSES))
    columns = imagenet_classes(weights.with_name("labels.json"), photos.wnids)
    pixels = torch.from_numpy(np.array(photos.pixels)).to(device).permute(0, 3, 1, 2)
    return TeacherBatches(pixels, photos.labels, split(len(photos.labels), 0)[0], teacher, columns, side)


def main(
    context: typer.Context,
    run: Annotated[Path, typer.Option(help="Folder of this training. Decoded photos are cached in its parent.")],
    alpha: Annotated[float, typer.Option(help="Width multiplier.")],
    start: Annotated[Path, typer.Option(help="Keras weights to start from.")],
    temperature: Annotated[
        float, typer.Option(help="Temperature that was folded into these weights; MANIFEST.toml has it.")
    ] = 1.0,
    epochs: Annotated[int, typer.Option(help="Number of epochs in the schedule.")] = 110,
    data: Annotated[Path, typer.Option(help="Folder with train/<WordNet id>/*.")] = Path("../shared/data/imagenette"),
    teacher: Annotated[
        Path, typer.Option(help="ImageNet .h5 weights of the teacher, with labels.json beside them.")
    ] = Path("../shared/data/imagenet/mobilenet_5_0_160_tf.h5"),
    teacher_alpha: Annotated[float, typer.Option(help="Width multiplier of the teacher.")] = 0.5,
    teacher_resolution: Annotated[int, typer.Option(help="Resolution of the teacher in pixels.")] = 192,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = LEARNING_RATE,
    seed: Annotated[
        int, typer.Option(help="Determines the crops and their order; the photos held out are always those of seed 0.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cuda; or cpu, which takes days.")] = "cuda",
) -> None:
    """Train, or continue a training, and write the weights, a table and a curve to the folder of the training."""
    files = TrainingFolder(run)
    files.begin(context.params)
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    photos = Photos.load(data / "train", run.parent)
    batches = make_batches(teacher, teacher_alpha, photos, teacher_resolution, device)
    held_out = HeldOut.of(photos, split(len(photos.labels), 0)[1])
    schedule = Schedule(epochs, len(batches.indices) // BATCH, seed, ((1.0, SHARES),), learning_rate, BATCH)
    student = Student(alpha, len(photos.wnids), batches.teacher.classifier.in_features, device)
    student.load(without_temperature(read(start, alpha, len(photos.wnids)), temperature))
    student.fit_projection(islice(batches(replace(schedule, seed=seed + 1), 0), SAMPLE))
    files.plot(fit(student, batches, held_out, schedule, files))
    for resolution in REPORT:
        typer.echo(f"held-out top-1 @ {resolution}: {evaluate(student, held_out, resolution)[1]:.2%}")


if __name__ == "__main__":
    typer.run(main)

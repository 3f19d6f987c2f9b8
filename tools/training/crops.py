"""The examples that a network is trained on: fixed random crops of photos, and a target for each crop."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import typer
from numpy.typing import NDArray

from app.training.task import smooth
from tools.training.photos import (
    Floats,
    Indices,
    Photos,
    Pixels,
    cut,
    imagenet_classes,
    random_boxes,
    write_whole,
)
from tools.training.run import TEMPERATURE
from tools.training.teacher import Teacher

CROPS_PER_PHOTO = 64


@dataclass(frozen=True, slots=True)
class Crops:
    """The same number c of crops of each photo: boxes `[n, c, 4]` and targets `[n, c, classes]`.

    Row i belongs to photo `indices[i]`. The crops are fixed so that a teacher has to look at each of them only once.
    `temperature` is the one that the targets were softened by.
    """

    photos: Pixels
    indices: Indices
    boxes: Floats
    targets: Floats
    temperature: float

    @classmethod
    def draw(
        cls,
        photos: Photos,
        indices: Indices,
        teacher: Teacher | None,
        seed: int,
        cache: Path,
        count: int = CROPS_PER_PHOTO,
    ) -> "Crops":
        """Draw so many crops of each photo. A target is the smoothed label, or the answer of the teacher, if any.

        The teacher's answers are saved in the folder `cache`, and read from there the next time.
        """
        labels, boxes = photos.labels[indices], random_boxes(len(indices), count, seed)
        if teacher is None:
            targets = np.repeat(smooth(labels, len(photos.wnids))[:, None], count, axis=1)
            return cls(photos.pixels, indices, boxes, targets, 1.0)
        path = cache / f"{teacher.weights.stem}-{_digest(teacher, photos, indices, boxes):08x}.npy"
        if not path.exists():
            logits = teacher.logits(photos.pixels, indices, boxes, imagenet_classes(teacher.labels, photos.wnids))
            write_whole(path, lambda file: np.save(file, logits))
        return cls(photos.pixels, indices, boxes, soften(np.load(path), labels), TEMPERATURE)

    def batch(
        self, rows: Indices, columns: Indices, mirror: NDArray[np.bool_], resolution: int
    ) -> tuple[Pixels, Floats]:
        """Return crop `columns[i]` of row `rows[i]` for each i: pixels, uint8 `[n, r, r, 3]`, and targets.

        Crops are mirrored where `mirror` is true.
        """
        boxes = self.boxes[rows, columns]
        return cut(self.photos, self.indices[rows], boxes, mirror, resolution), self.targets[rows, columns]


def _digest(teacher: Teacher, photos: Photos, indices: Indices, boxes: Floats) -> int:
    """Return a number that stands for all that the answers of a teacher depend on."""
    digest = crc32(f"{teacher.alpha}, {teacher.resolution}, {photos.wnids}".encode())
    for part in (teacher.weights.read_bytes(), photos.pixels.data, indices.data, boxes.data):
        digest = crc32(part, digest)
    return digest


def soften(logits: Floats, labels: Indices) -> Floats:
    """Return the teacher's softened answers `[n, c, classes]`, or the smoothed label where its answer is wrong."""
    own = np.broadcast_to(smooth(labels, logits.shape[-1])[:, None], logits.shape)
    right = logits.argmax(-1) == labels[:, None]
    typer.echo(f"teacher: top-1 {right.mean():.2%} on the crops")
    soft = np.exp((logits - logits.max(-1, keepdims=True)) / TEMPERATURE)
    return np.where(right[..., None], soft / soft.sum(-1, keepdims=True), own)

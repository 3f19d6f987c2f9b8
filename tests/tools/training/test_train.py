"""A network learns, and its checkpoint is all that it takes to go on."""

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from app.training.schedule import BATCH, Schedule
from tests.support import needs
from tests.support.networks import images
from tools.training.run import train_epoch

if TYPE_CHECKING:
    from app.training.trainer import Trainer
    from tools.training.crops import Crops
    from tools.training.teacher import Teacher

pytestmark = [pytest.mark.tensorflow, needs.TENSORFLOW.mark()]

CLASSES, SIDE = 2, 32
LABELS = np.arange(BATCH) % CLASSES
PHOTOS = images(BATCH, 224) // 2 + (127 * LABELS[:, None, None, None]).astype(np.uint8)
SCHEDULE = Schedule(8, 1, 0, ((1.0, {SIDE: 1.0}),), 3e-3)


def trainer() -> "Trainer":
    import keras

    from app.mobilenet import network
    from app.training.trainer import Trainer

    keras.utils.set_random_seed(0)
    model, average = (network.build(0.25, None, CLASSES, input_dtype="float32") for _ in range(2))
    return Trainer(model, average, 1.0, 0)


def crops() -> "Crops":
    from tools.training.crops import Crops

    boxes = np.tile(np.array([0, 0, 224, 224], np.float32), (BATCH, 3, 1))
    targets = np.repeat(np.eye(CLASSES, dtype=np.float32)[LABELS][:, None], 3, axis=1)
    return Crops(PHOTOS, np.arange(BATCH), boxes, targets, 1.0)


@dataclass(frozen=True)
class Asked:
    """A teacher that notes what it is asked about."""

    weights: Path
    alpha: float
    resolution: int
    asked: list[str]

    @property
    def labels(self) -> Path:
        """Where its classes are."""
        return self.weights.with_name("labels.json")

    def logits(self, photos: Any, indices: Any, boxes: Any, columns: list[int]) -> Any:
        """Answer anything."""
        self.asked.append(f"{self.alpha:g} @ {self.resolution}, {photos.mean():.0f}, {self.weights.read_text()}")
        return np.zeros((*boxes.shape[:2], len(columns)), np.float32)


def test_the_answers_of_a_teacher_are_kept_apart_by_all_that_they_depend_on(tmp_path: Path) -> None:
    from tools.training.crops import Crops
    from tools.training.photos import Photos

    (tmp_path / "labels.json").write_text('[{"wnid": "a", "index": 0}, {"wnid": "b", "index": 1}]')
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "labels.json").write_text('[{"wnid": "a", "index": 0}, {"wnid": "b", "index": 1}]')
    (tmp_path / "a.h5").write_text("one")
    (tmp_path / "first" / "a.h5").write_text("other")
    asked: list[str] = []
    dark = Photos(np.full((2, 8, 8, 3), 1, np.uint8), np.array([0, 1]), ["a", "b"])
    bright = Photos(dark.pixels + 9, dark.labels, dark.wnids)
    teachers = [Asked(tmp_path / "a.h5", alpha, side, asked) for alpha, side in ((0.5, 160), (0.5, 192), (1, 160))]
    for photos, teacher in (
        *((dark, teacher) for teacher in (*teachers, Asked(tmp_path / "first" / "a.h5", 0.5, 160, asked), *teachers)),
        (bright, teachers[0]),
    ):
        Crops.draw(photos, np.array([0, 1]), cast("Teacher", teacher), 0, tmp_path, 2)
    found = ["0.5 @ 160, 1, one", "0.5 @ 192, 1, one", "1 @ 160, 1, one", "0.5 @ 160, 1, other", "0.5 @ 160, 10, one"]
    assert asked == found


def test_it_learns_and_from_its_checkpoint_it_learns_the_same_again() -> None:
    from tools.training.train import batches

    one, given = trainer(), partial(batches, crops())
    begin = train_epoch(one, given, SCHEDULE, 0)["train_loss"]
    file = io.BytesIO()
    one.write(file, epochs=1)
    found = []
    for _ in range(2):  # by the second time all has changed that the checkpoint lacks
        file.seek(0)
        assert one.read(file) == 1
        rows = [train_epoch(one, given, SCHEDULE, epoch) for epoch in range(1, 8)]
        found.append((rows, one.probabilities(PHOTOS[:2]).numpy().tolist()))
    assert found[0] == found[1]
    assert rows[-1]["train_loss"] < begin - 0.1

"""A network learns, and its checkpoint is all that it takes to go on."""

import io
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.training.schedule import BATCH, Schedule
from tests.support import needs
from tests.support.networks import images
from tools.training.run import train_epoch

if TYPE_CHECKING:
    from app.training.trainer import Trainer
    from tools.training.crops import Crops

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

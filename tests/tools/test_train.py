"""A network learns, and its checkpoint is all that it takes to go on."""

import io
from functools import partial

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from app.mobilenet import network  # noqa: E402
from tests.support.networks import images  # noqa: E402
from tools.training.crops import Views  # noqa: E402
from tools.training.run import BATCH, Plan, train_epoch  # noqa: E402
from tools.training.train import batches  # noqa: E402
from tools.training.trainer import Trainer  # noqa: E402

pytestmark = pytest.mark.tensorflow

CLASSES, SIDE = 2, 32
LABELS = np.arange(BATCH) % CLASSES
PHOTOS = images(BATCH, 224) // 2 + (127 * LABELS[:, None, None, None]).astype(np.uint8)
PLAN = Plan(8, 1, 0, ((1.0, {SIDE: 1.0}),), 3e-3)


def trainer() -> Trainer:
    keras.utils.set_random_seed(0)
    return Trainer(partial(network.build, 0.25, None, CLASSES, input_dtype="float32"), 1.0, 0)


def views() -> Views:
    boxes = np.tile(np.array([0, 0, 224, 224], np.float32), (BATCH, 3, 1))
    targets = np.repeat(np.eye(CLASSES, dtype=np.float32)[LABELS][:, None], 3, axis=1)
    return Views(PHOTOS, np.arange(BATCH), boxes, targets, 1.0)


def test_it_learns_and_another_that_goes_on_from_its_checkpoint_learns_the_same() -> None:
    first, other = trainer(), trainer()
    given = partial(batches, views())
    begin = train_epoch(first, given, PLAN, 0)["train_loss"]
    file = io.BytesIO()
    first.write(file, epochs=1)
    file.seek(0)
    assert other.read(file) == 1
    mine, yours = ([train_epoch(each, given, PLAN, epoch) for epoch in range(1, 8)] for each in (first, other))
    assert mine == yours
    np.testing.assert_array_equal(first.probabilities(PHOTOS[:2]), other.probabilities(PHOTOS[:2]))
    assert mine[-1]["train_loss"] < begin - 0.1

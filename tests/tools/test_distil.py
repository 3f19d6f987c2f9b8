"""Lessons are what they say they are; a pupil begins with the best guess at the features, and learns from there."""

from functools import partial
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import tensorflow as tf  # noqa: E402

from app.mobilenet import network  # noqa: E402
from tests.networks import images, lively  # noqa: E402
from tools.distil import Lessons, Pupil, begin, soften  # noqa: E402
from tools.train import Plan  # noqa: E402
from tools.trainer import BATCH  # noqa: E402
from tools.views import FEATURES, Photos  # noqa: E402

pytestmark = pytest.mark.tensorflow

CLASSES, SIDE = 4, 32
PHOTOS = Photos(images(2 * BATCH + 5, 224), np.arange(2 * BATCH + 5) % CLASSES, ["a", "b", "c", "d"])
PLAN = Plan(4, 2, 7, ((1.0, {SIDE: 0.5, 2 * SIDE: 0.5}),), 1e-3)


def ask(pixels: Any) -> Any:
    """Answer as a teacher whose one feature is how bright an image is."""
    assert pixels.shape == (BATCH, SIDE, SIDE, 3)
    return np.zeros((BATCH, CLASSES), np.float32), pixels.mean((1, 2, 3))[:, None]


def lessons() -> Lessons:
    return Lessons(PHOTOS, np.arange(len(PHOTOS.labels)), ask, SIDE)


def test_an_epoch_is_the_same_again_and_another_one_is_not() -> None:
    first, again, other = (list(lessons()(PLAN, epoch)) for epoch in (0, 0, 1))
    assert len(first) == PLAN.steps
    for one, two in zip(first, again, strict=True):
        for part, same in zip(one, two, strict=True):
            np.testing.assert_array_equal(part, same)
    assert not any(np.array_equal(one[2], two[2]) for one, two in zip(first, other, strict=True))


def test_the_teacher_sees_what_the_pupil_sees_at_its_own_resolution() -> None:
    sides = set()
    for epoch in range(4):
        for pixels, _, features in lessons()(PLAN, epoch):
            sides.add(pixels.shape[1])
            assert pixels.dtype == np.uint8
            np.testing.assert_allclose(pixels.mean((1, 2, 3)), features[:, 0], atol=3)
    assert sides == {SIDE, 2 * SIDE}


def test_a_whole_photo_that_the_teacher_gets_wrong_keeps_its_label_and_a_mixed_one_has_none() -> None:
    logits = np.array([[4.0, 0, 0], [4.0, 0, 0], [4.0, 0, 0]], np.float32)
    right, wrong, mixed = soften(logits, np.array([0, 1, 1]), np.array([True, True, False]))
    assert right.argmax() == mixed.argmax() == 0
    assert wrong.argmax() == 1
    np.testing.assert_array_equal(right, mixed)
    np.testing.assert_allclose([right.sum(), wrong.sum()], 1, atol=1e-6)
    assert right[1] == pytest.approx(right[0] / np.e**2)  # logits 4 apart, softened by 2


def pupil() -> Pupil:
    model = lively(0.25, SIDE, CLASSES)
    build = partial(network.build, 0.25, None, CLASSES, input_dtype="float32")
    return Pupil(build, 2.0, 0, lambda other: other.set_weights(model.get_weights()), width=256, features=3)


def test_the_first_guess_at_features_that_can_be_had_is_right_and_a_step_makes_it_no_worse() -> None:
    found = pupil()
    pooled = keras.Model(found.model.input, found.model.get_layer(FEATURES).output)
    make = np.random.default_rng(0).normal(size=(256, 3))
    pixels = images(3 * BATCH, SIDE, seed=1)
    features = (np.reshape(pooled(pixels.astype(np.float32), training=False), (-1, 256)) @ make).astype(np.float32)
    targets = np.full((BATCH, CLASSES), 1 / CLASSES, np.float32)
    found.guess([(pixels[at : at + BATCH], targets, features[at : at + BATCH]) for at in range(0, 3 * BATCH, BATCH)])
    own = np.reshape(pooled(pixels[:BATCH].astype(np.float32), training=False), (-1, 256))
    zeros = tf.zeros((BATCH, CLASSES))
    away = float(found.loss(zeros, own, targets, features[:BATCH])) - np.log(CLASSES)
    assert 0 <= away < 0.05  # 1 is what knowing nothing gives

    before = np.array(found.projection)
    found.optimizer.learning_rate.assign(1e-4)
    losses = [float(found.step(tf.constant(n), pixels[:BATCH], targets, features[:BATCH])[0]) for n in range(6)]
    assert losses[-1] < losses[0]
    assert not np.array_equal(before, found.projection)


def test_a_temperature_that_was_folded_in_is_taken_out(tmp_path: Any) -> None:
    model, other = lively(0.25, SIDE, CLASSES), network.build(0.25, SIDE, CLASSES)
    model.save_weights(tmp_path / "a.weights.h5")
    begin(other, tmp_path / "a.weights.h5", 2.0)
    pixels = images(4, SIDE)
    plain, sharper = (np.array(each(pixels, training=False)) for each in (model, other))
    np.testing.assert_allclose(sharper, plain**2 / (plain**2).sum(-1, keepdims=True), atol=1e-4)

"""The network in PyTorch answers as the one in Keras; batches are what they should be; a student learns from them."""

import io
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import needs

torch = pytest.importorskip("torch", reason=needs.PYTORCH.reason)

from app.training.schedule import Schedule  # noqa: E402
from tests.support.networks import images, lively  # noqa: E402
from tools.distillation.batches import TeacherBatches, cut, soften  # noqa: E402
from tools.distillation.distil import read, without_temperature  # noqa: E402
from tools.distillation.network import MobileNet  # noqa: E402
from tools.distillation.student import Student  # noqa: E402
from tools.training.photos import cut as cut_by_pillow  # noqa: E402
from tools.training.photos import random_boxes  # noqa: E402

ALPHA, CLASSES, SIDE, BATCH = 0.25, 4, 64, 8
PHOTOS = images(2 * BATCH + 5, 224)
LABELS = np.arange(len(PHOTOS)) % CLASSES
SCHEDULE = Schedule(4, 2, 7, ((1.0, {SIDE: 0.5, SIDE // 2: 0.5}),), 1e-3, BATCH)


def channels_first(pixels: Any) -> Any:
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)


def brightness(pixels: Any) -> Any:
    """Answer as a teacher of six classes, always the first, with one feature: how bright an image is, 0 to 1."""
    assert pixels.shape[1:] == (3, SIDE, SIDE)
    return torch.eye(6)[torch.zeros(len(pixels), dtype=int)], pixels.mean((1, 2, 3))[:, None] / 255


def teacher_batches(columns: list[int] | None = None) -> TeacherBatches:
    teacher: Any = brightness
    return TeacherBatches(
        channels_first(PHOTOS), LABELS, np.arange(len(PHOTOS)), teacher, columns or [1, 0, 3, 2], SIDE
    )


def network(alpha: float = ALPHA, seed: int = 0) -> Any:
    return lively(alpha, SIDE, CLASSES, seed=seed)


def answers(keras_network: Any, pixels: Any) -> Any:
    return keras_network.predict(pixels, verbose=0)


def test_the_network_answers_as_that_in_keras_and_gives_its_weights_back() -> None:
    keras_network = network()
    ours = MobileNet(ALPHA, CLASSES).eval()
    ours.load(keras_network.get_weights())
    pixels = images(3, SIDE)
    with torch.no_grad():
        found = torch.softmax(ours(channels_first(pixels).float())[0], -1)
    np.testing.assert_allclose(found, answers(keras_network, pixels), atol=1e-5)
    assert np.ptp(found.numpy(), axis=0).max() > 0.01  # not one answer for all
    for back, weights in zip(ours.arrays(), keras_network.get_weights(), strict=True):
        np.testing.assert_array_equal(back, weights)


@pytest.mark.parametrize("side", [32, 160, 224])
def test_boxes_are_cut_as_pillow_cuts_them(side: int) -> None:
    count = 6
    boxes, mirror = random_boxes(count, 1, seed=1)[:, 0], np.arange(count) % 2 == 0
    wanted = cut_by_pillow(PHOTOS, np.arange(count), boxes, mirror, side)
    found = cut(channels_first(PHOTOS[:count]).float(), torch.from_numpy(boxes), torch.from_numpy(mirror), side)
    away = np.abs(found.permute(0, 2, 3, 1).numpy() - wanted)
    assert away.max() <= 2  # Pillow rounds twice, to whole numbers
    assert away.mean() < 0.4


def test_an_epoch_is_the_same_again_and_another_one_is_not() -> None:
    first, again, other = (list(teacher_batches()(SCHEDULE, epoch)) for epoch in (0, 0, 1))
    assert len(first) == SCHEDULE.steps
    for one, two in zip(first, again, strict=True):
        for part, same in zip(one, two, strict=True):
            np.testing.assert_array_equal(part, same)
    assert not any(np.array_equal(one[2], two[2]) for one, two in zip(first, other, strict=True))


def test_the_teacher_sees_what_the_student_sees_but_for_its_colours() -> None:
    schedules = [replace(SCHEDULE, seed=seed) for seed in range(8)]
    batches = [batch for schedule in schedules for batch in teacher_batches()(schedule, 0)]
    assert {pixels.shape[-1] for pixels, _, _ in batches} == {SIDE, SIDE // 2}
    ratio = np.concatenate([(pixels.mean((1, 2, 3)) / 255 / features[:, 0]).numpy() for pixels, _, features in batches])
    assert 0.7 < ratio.min() < 0.8  # up to a quarter darker or brighter
    assert 1.1 < ratio.max() < 1.3  # less where white is white already
    assert abs(ratio.mean() - 1) < 0.05


def test_the_classes_of_the_teacher_that_count_are_put_in_order() -> None:
    _, targets, _ = next(iter(teacher_batches(columns=[5, 4, 0, 3])(SCHEDULE, 0)))
    mixed = targets[targets.max(-1).values < 0.9]
    assert len(mixed)
    assert set(mixed.argmax(-1).tolist()) == {2}


def test_a_whole_photo_that_the_teacher_gets_wrong_keeps_its_label_and_a_mixed_one_has_none() -> None:
    logits = torch.tensor([[4.0, 0, 0]] * 3)
    right, wrong, mixed = soften(logits, torch.eye(3)[[0, 1, 1]], torch.tensor([True, True, False]))
    np.testing.assert_array_equal(wrong, [0, 1, 0])
    np.testing.assert_array_equal(right, mixed)
    assert float(right.sum()) == pytest.approx(1)
    assert float(right[1] / right[0]) == pytest.approx(math.exp(-2))  # logits 4 apart, softened by 2


def student(features: int = 3) -> Student:
    torch.manual_seed(0)
    found = Student(ALPHA, CLASSES, features, "cpu")
    found.load(network().get_weights())
    return found


def test_the_first_guess_at_features_that_can_be_had_is_right_and_learning_makes_it_no_worse() -> None:
    found = student()
    make = torch.from_numpy(np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32))
    pixels = channels_first(images(192, SIDE, seed=1)).float()
    targets = torch.full((48, CLASSES), 1 / CLASSES)
    with torch.no_grad():
        own = found.average(pixels)[1]
    batches = [(part, targets, other @ make) for part, other in zip(pixels.split(48), own.split(48), strict=True)]
    found.fit_projection(batches)
    away = float(found.loss(torch.zeros(48, CLASSES), own[:48], targets, batches[0][2]).detach()) - math.log(CLASSES)
    assert 0 <= away < 0.05  # 1 is what knowing nothing gives

    before = found.projection.weight.detach().clone()
    losses = [float(found.learn(number, 1e-4, *batches[0])[0]) for number in range(6)]
    assert losses[-1] < losses[0]
    assert not torch.equal(before, found.projection.weight)


def test_what_is_evaluated_and_saved_is_the_average_of_what_was_learnt(tmp_path: Path) -> None:
    found = student(features=1)
    begin, weights = found.average.classifier.bias.clone(), []
    for number, batch in enumerate(islice(teacher_batches()(SCHEDULE, 0), 2)):
        found.learn(number, 1e-2, *batch)
        weights.append(found.model.classifier.bias.detach().clone())
    wanted = begin * 0.998**2 + weights[0] * 0.002 * 0.998 + weights[1] * 0.002
    np.testing.assert_allclose(found.average.classifier.bias, wanted, rtol=1e-4, atol=1e-7)

    found.save(tmp_path / "a.weights.h5")
    for saved, own in zip(read(tmp_path / "a.weights.h5", ALPHA, CLASSES), found.average.arrays(), strict=True):
        np.testing.assert_array_equal(saved, own)
    keras_network = network(seed=1)
    keras_network.load_weights(tmp_path / "a.weights.h5")
    pixels = images(5, SIDE, seed=2)
    np.testing.assert_allclose(found.probabilities(pixels), answers(keras_network, pixels), atol=1e-4)


def test_a_checkpoint_is_all_that_it_takes_to_go_on() -> None:
    one, other = student(1), student(1)
    first, second = islice(teacher_batches()(SCHEDULE, 0), 2)
    one.learn(0, 1e-3, *first)
    file = io.BytesIO()
    one.write(file, epochs=1)
    file.seek(0)
    assert other.read(file) == 1
    for each in (one, other):
        each.learn(1, 1e-3, *second)
    for mine, yours in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-5, atol=1e-6)


def test_a_temperature_that_was_folded_in_is_taken_out() -> None:
    plain, sharper = network(), network(seed=1)
    *rest, bias = plain.get_weights()
    plain.set_weights([*rest, bias + np.arange(CLASSES) / CLASSES])
    sharper.set_weights(without_temperature(plain.get_weights(), 2.0))
    pixels = images(4, SIDE)
    before, after = (answers(each, pixels) for each in (plain, sharper))
    np.testing.assert_allclose(after, before**2 / (before**2).sum(-1, keepdims=True), atol=1e-4)

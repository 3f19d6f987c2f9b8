"""The temperature of a network is the one that its probabilities lack, and in the weights it changes nothing else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engines.tflite.interface import softmax
from app.training.temperature import fit
from tests.support import needs
from tests.support.networks import images, lively
from tools.training.photos import split
from tools.weights.evaluate import LabelledPhoto
from tools.weights.temperature import Floats, Indices, fold, held_out, measure, trunk

ALPHA = 0.25
CLASSES = 4


def drawn(temperature: float) -> tuple[Floats, Indices]:
    """Return logits, and truths that are as likely as `softmax(logits / temperature)` says."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, CLASSES)).astype(np.float32)
    bounds = softmax(logits / np.float32(temperature)).cumsum(axis=1)
    return logits, (rng.random((len(logits), 1)) > bounds[:, :-1]).sum(axis=1)


def found(logits: Floats, truths: Indices) -> float:
    """Return the temperature of these logits, each of a photo of its own."""
    return fit(logits, truths, len(truths))


@pytest.mark.parametrize("temperature", [0.5, 1, 1.4, 3])
def test_the_temperature_that_truths_were_drawn_with_is_found(temperature: float) -> None:
    assert found(*drawn(temperature)) == pytest.approx(temperature, rel=0.03)


def test_logits_twice_as_large_are_twice_as_hot() -> None:
    logits, truths = drawn(1.4)
    assert found(2 * logits, truths) == pytest.approx(2 * found(logits, truths), rel=1e-4)


def test_six_photos_that_are_all_right_do_not_make_a_mistake_impossible() -> None:
    truths = np.arange(6) % 2
    logits = np.float32(8) * np.eye(2, dtype=np.float32)[truths]
    probabilities = softmax(logits / np.float32(found(logits, truths)))
    assert probabilities.max(axis=1) == pytest.approx(7 / 8, abs=1e-3)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    needs.TENSORFLOW.check()
    path = tmp_path / "network.weights.h5"
    network = lively(ALPHA, 64, CLASSES)
    network.get_layer("conv_preds").bias.assign(range(CLASSES))  # a bias that is the same for all says nothing
    network.save_weights(path)
    return path


@pytest.mark.tensorflow
def test_folded_weights_answer_the_softmax_of_the_logits_over_the_temperature(weights: Path, tmp_path: Path) -> None:
    from app.mobilenet.network import build

    network, pixels = build(ALPHA, 64, CLASSES), images(8, 64)
    network.load_weights(weights)
    logits: Floats = np.array(trunk(network)(pixels.astype(np.float32) / 127.5 - 1), np.float32)
    fold(weights, ALPHA, 1.7, tmp_path / "folded.weights.h5")
    network.load_weights(tmp_path / "folded.weights.h5")
    np.testing.assert_allclose(network(pixels), softmax(logits / np.float32(1.7)), atol=1e-4)


@pytest.mark.tensorflow
def test_once_folded_in_nothing_is_left_of_it(weights: Path, tmp_path: Path) -> None:
    from app.mobilenet.network import build

    network = build(ALPHA, 128, CLASSES)
    network.load_weights(weights)
    pixels = images(8, 128)
    truths = np.array(network(pixels)).argmax(axis=1)
    truths[:2] = (truths[:2] + 1) % CLASSES
    photos = [LabelledPhoto(tmp_path / f"{number}.png", truth) for number, truth in enumerate(truths)]
    for photo, image in zip(photos, pixels, strict=True):
        Image.fromarray(image).save(photo.path)
    found = measure(weights, ALPHA, photos)
    assert 1 / 20 < found < 20
    assert found != pytest.approx(1, abs=0.1)
    fold(weights, ALPHA, found, tmp_path / "folded.weights.h5")
    assert measure(tmp_path / "folded.weights.h5", ALPHA, photos) == pytest.approx(1, abs=1e-3)


def test_no_photo_that_was_trained_on_has_a_say() -> None:
    photos = [LabelledPhoto(Path(f"{number}"), 0) for number in range(200)]
    apart = {photo.path for photo in held_out(photos)}
    assert len(apart) == 10
    assert apart.isdisjoint(photos[index].path for index in split(len(photos), 0)[0])

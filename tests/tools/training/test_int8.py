"""A network that is simulated in int8 answers as LiteRT does, and learns to answer as it does in float32."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.engines.bundle import BUNDLED
from app.engines.keras.reader import read
from app.mobilenet.variants import Variant
from tests.support import needs
from tests.support.networks import images, lively

pytestmark = [pytest.mark.tensorflow, needs.TENSORFLOW.mark()]

ALPHA, SIDE, CLASSES, STEPS = 0.25, 64, 4, 30
PHOTOS = images(60, SIDE)


@pytest.fixture(scope="module")
def network() -> Any:
    return lively(ALPHA, SIDE, CLASSES)


@pytest.fixture(scope="module")
def exact(network: Any) -> Any:
    from tools.training.int8 import fold

    return fold(network.get_weights(), ALPHA)


def logits(folded: Any, ranges: Any = ()) -> Any:
    from tools.training.int8 import answers

    return np.asarray(answers(folded, PHOTOS.astype(np.float32), ranges)[1][0])


def probabilities(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_a_folded_network_answers_as_before_and_so_does_one_that_is_unfolded(network: Any, exact: Any) -> None:
    from tools.training.int8 import unfold

    expected = network.predict(PHOTOS, verbose=0)
    np.testing.assert_allclose(probabilities(logits(exact)), expected, atol=1e-4)
    other = lively(ALPHA, SIDE, CLASSES, seed=1)
    other.set_weights(unfold(exact))
    np.testing.assert_allclose(other.predict(PHOTOS, verbose=0), expected, atol=1e-4)


def test_equal_channels_change_no_answer_and_small_ones_become_up_to_8_times_as_large(exact: Any) -> None:
    from tools.training.int8 import equalise, peaks

    found = equalise(exact, peaks(exact, PHOTOS))
    np.testing.assert_allclose(logits(found), logits(exact), rtol=1e-3, atol=1e-3)
    before, after = peaks(exact, PHOTOS), peaks(found, PHOTOS)
    for number, one in enumerate(exact):
        if one.layer.kind == "depthwise":
            np.testing.assert_allclose(after[number - 1], np.minimum(8 * before[number - 1], 6), rtol=1e-3, atol=1e-5)


def test_rounded_kernels_have_255_values_for_each_channel_and_keep_the_largest(exact: Any) -> None:
    from tools.training.int8 import rounded

    for one in exact:
        before, after = (np.asarray(each.kernel) for each in (one, rounded(one)))
        if one.layer.kind == "depthwise":
            before, after = before[:, :, :, 0], after[:, :, :, 0]
        most = np.abs(before).max(axis=tuple(range(before.ndim - 1)))
        step = most / 127
        assert (np.abs(after - before) <= step * 0.501).all()
        np.testing.assert_allclose(after / step, np.round(after / step), atol=1e-3)
        np.testing.assert_allclose(np.abs(after).max(axis=tuple(range(after.ndim - 1))), most, rtol=1e-5)


@pytest.fixture(scope="module")
def bundled() -> Any:
    from tools.training.quantise import exact

    return exact(ALPHA)


def test_what_is_learnt_from_has_the_bundled_probabilities_and_nothing_that_all_classes_share(bundled: Any) -> None:
    from tools.training.int8 import fold

    whole = logits(fold(read(BUNDLED.weights(ALPHA), ALPHA), ALPHA))
    np.testing.assert_allclose(probabilities(logits(bundled)), probabilities(whole), atol=1e-5)
    np.testing.assert_allclose(logits(bundled).mean(axis=1), 0, atol=1e-4)
    assert np.abs(whole.mean(axis=1)).max() > 1


def test_litert_answers_as_is_simulated(bundled: Any, tmp_path: Path) -> None:
    from app.engines.litert import LiteRTEngine
    from app.engines.tflite.convert import convert
    from app.mobilenet.network import build
    from tools.training.quantise import Int8Learner

    learner = Int8Learner(bundled, PHOTOS)
    network = build(ALPHA, None, len(bundled[-1].bias))
    network.set_weights(learner.arrays())
    network.save_weights(tmp_path / "int8.weights.h5")
    path = tmp_path / "int8.tflite"
    path.write_bytes(convert(tmp_path / "int8.weights.h5", Variant(ALPHA, SIDE), "int8", PHOTOS))
    found = LiteRTEngine(path, 1, "int8").predict(list(PHOTOS)).probabilities
    simulated, exact = (probabilities(logits(learner.folded(), ranges)) for ranges in (learner.ranges, ()))
    assert np.abs(found - simulated).mean() < np.abs(found - exact).mean() / 3


def test_it_learns_to_answer_as_in_float32(bundled: Any) -> None:
    from tools.training.quantise import Int8Learner

    learner, wanted = Int8Learner(bundled, PHOTOS), logits(bundled)
    before = np.abs(logits(learner.folded(), learner.ranges) - wanted).mean()
    for number in range(STEPS):
        learner.learn(number / STEPS, PHOTOS)
    assert np.abs(logits(learner.folded(), learner.ranges) - wanted).mean() < 0.6 * before

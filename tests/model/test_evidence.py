"""What places say adds up to what the network says, and lies where the pixels of the file lie."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.config import MODEL_WEIGHTS
from app.engines.base import FeatureEngine, Head, patterns
from app.engines.litert import LiteRTEngine
from app.imaging.orientation import upright
from app.mobilenet.variants import ALPHAS
from app.model.evidence import as_stored, embedding, evidence
from tests.support.fakes import MosaicEngine

Floats = NDArray[np.float32]

FEATURES = np.random.default_rng(0).random((3, 4, 5), np.float32)
HEAD = Head(*(np.random.default_rng(1).random(shape, np.float32) - 0.5 for shape in ((5, 7), (7,))))


def centred(logits: Floats) -> Floats:
    """Return logits `[..., classes]`, counted from their mean."""
    difference: Floats = logits - logits.mean(axis=-1, keepdims=True)
    return difference


def test_what_the_places_say_for_a_class_adds_up_to_its_centred_logit_bias_and_all() -> None:
    logits = centred(embedding(FEATURES) @ HEAD.kernel + HEAD.bias)
    grids = evidence(FEATURES, HEAD, [6, 0, 3])
    assert grids.shape == (3, 3, 4)
    np.testing.assert_allclose(grids.sum(axis=(1, 2)), logits[[6, 0, 3]], atol=1e-5)


def test_a_place_says_what_the_classifier_makes_of_it_alone() -> None:
    (grid,) = evidence(FEATURES, HEAD, [2])
    alone = centred(embedding(FEATURES[1:2, 3:4]) @ HEAD.kernel + HEAD.bias)
    assert grid[1, 3] == pytest.approx(alone[2] / 12, abs=1e-6)


def test_what_speaks_for_all_classes_speaks_for_none() -> None:
    more = Head(HEAD.kernel + FEATURES[0, 0][:, None], HEAD.bias + 3)
    np.testing.assert_allclose(evidence(FEATURES, more, [2, 5]), evidence(FEATURES, HEAD, [2, 5]), atol=1e-6)


def test_an_embedding_is_the_average_of_all_places() -> None:
    np.testing.assert_allclose(embedding(FEATURES), FEATURES.reshape(12, 5).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_grid_is_turned_back_to_how_the_pixels_lie_in_the_file(orientation: int) -> None:
    stored = np.arange(9, dtype=np.uint8).reshape(3, 3)
    seen = upright(np.repeat(stored[..., None], 3, axis=2), orientation)[..., 0]
    np.testing.assert_array_equal(as_stored(seen.astype(np.float32), orientation), stored)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_of_the_bundled_int8_models_the_places_add_up_to_the_centred_logits_but_for_the_rounding(alpha: float) -> None:
    engine: FeatureEngine = LiteRTEngine(MODEL_WEIGHTS / f"imagenette_{alpha:g}.int8.tflite", 1, "int8")
    images = list(patterns(4, 160))
    found, features = engine.observe(images)
    assert engine.channels == features.shape[-1] == int(1024 * alpha)
    np.testing.assert_array_equal(found.probabilities, engine.predict(images).probabilities)
    logits = centred(np.log(found.probabilities))
    for one, expected in zip(features, logits, strict=True):
        sums = evidence(one, engine.head, list(range(engine.classes))).sum(axis=(1, 2))
        np.testing.assert_allclose(sums, expected, atol=0.12)  # a step of the averages and one of the logits
    assert np.ptp(logits) > 3


def test_the_model_of_mosaics_that_other_tests_have_is_linear_too() -> None:
    image = np.asarray(Image.linear_gradient("L").resize((64, 64)).convert("RGB"))
    engine = MosaicEngine()
    found, features = engine.observe([image])
    sums = evidence(features[0], engine.head, list(range(engine.classes))).sum(axis=(1, 2))
    np.testing.assert_allclose(sums, centred(np.log(found.probabilities[0])), atol=1e-4)

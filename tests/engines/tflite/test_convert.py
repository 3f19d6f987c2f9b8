from typing import Any

import numpy as np
import pytest

from app.engines.litert import LiteRTEngine
from app.engines.tflite.convert import convert
from app.mobilenet.variants import RESOLUTIONS, Precision
from tests.support.networks import images
from tests.support.weights import CLASSES, PHOTOS, VARIANT, Converted, Saved

pytestmark = pytest.mark.tensorflow


def test_the_model_gives_the_answers_of_keras(saved: Saved, float32_model: Converted) -> None:
    pixels = images(6, VARIANT.resolution, seed=3)
    expected = np.asarray(saved.network(pixels))
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(
        LiteRTEngine(float32_model.path, 2).predict(list(pixels)).probabilities, expected, atol=1e-4
    )


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_same_weights_and_photos_give_the_same_bytes(
    saved: Saved, precision: Precision, request: pytest.FixtureRequest
) -> None:
    first: Converted = request.getfixturevalue(f"{precision}_model")
    photos = PHOTOS[: -len(PHOTOS) // 4]  # the model is compared with Keras on the others
    assert convert(saved.folder / "network.weights.h5", VARIANT, precision, photos) == first.path.read_bytes()


def test_in_int8_every_layer_is_of_integers_with_a_scale_a_channel(int8_model: Converted) -> None:
    interpreter = LiteRTEngine(int8_model.path, 1, "int8")._interpreter
    assert interpreter.get_input_details()[0]["dtype"] == np.uint8
    types = {tensor["name"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    assert sum(dtype == np.float32 for dtype in types.values()) == 2, "only the logits and the features that come out"
    scales = [len(tensor["quantization_parameters"]["scales"]) for tensor in interpreter.get_tensor_details()]
    assert {8, 16, 32, 64, 128, 256, CLASSES} <= set(scales)


def test_int8_answers_nearly_as_keras_does_and_in_finer_steps_than_a_byte_has(
    saved: Saved, int8_model: Converted
) -> None:
    pixels = images(40, VARIANT.resolution, seed=5)
    expected = np.asarray(saved.network(pixels))
    found = LiteRTEngine(int8_model.path, 2, "int8").predict(list(pixels)).probabilities
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    # Random weights suffer more from rounding than trained ones; still an image is far nearer to itself than to others.
    assert np.abs(found - expected).mean() < 0.6 * np.abs(found - expected[::-1]).mean()
    assert 0 < found.min() < 1 / 256


@pytest.fixture(scope="module")
def network(saved: Saved) -> Any:
    """The network of Keras, for images of any size."""
    from app.mobilenet.network import build

    network = build(VARIANT.alpha, None, CLASSES)
    network.set_weights(saved.network.get_weights())
    return network


@pytest.mark.parametrize("resolution", [32, *RESOLUTIONS, 320])
def test_one_model_in_float32_gives_the_answers_of_keras_at_every_resolution(
    resolution: int, network: Any, float32_model: Converted
) -> None:
    from app.mobilenet.network import logits

    pixels = images(6, resolution, seed=resolution)
    found = LiteRTEngine(float32_model.path, 2).predict(list(pixels))
    np.testing.assert_allclose(found.probabilities, network(pixels), atol=1e-4)
    expected = np.log(np.exp(np.array(logits(network)(pixels), np.float64)).sum(axis=1))
    np.testing.assert_allclose(found.energies, expected, atol=1e-3)


def test_int8_takes_any_resolution_and_answers_an_image_alike_in_any_company(int8_model: Converted) -> None:
    engine = LiteRTEngine(int8_model.path, 2, "int8")
    for resolution in (96, 64, 128):
        pixels = images(5, resolution, seed=resolution)
        together = engine.predict(list(pixels))
        alone = zip(*(engine.predict([image]) for image in pixels), strict=True)
        for found, expected in zip(together, alone, strict=True):
            np.testing.assert_array_equal(found, np.concatenate(expected))


def test_int8_keeps_every_step_of_the_pixels_even_if_the_photos_are_all_dull(int8_model: Converted) -> None:
    assert 0 < PHOTOS.min() < PHOTOS.max() < 255
    scale, zero = LiteRTEngine(int8_model.path, 1, "int8")._input["quantization"]
    assert scale == pytest.approx(2 / 255)
    assert zero in {127, 128}


def test_int8_without_photos_is_refused(saved: Saved) -> None:
    with pytest.raises(ValueError, match="int8 needs photos to calibrate with"):
        convert(saved.folder / "network.weights.h5", VARIANT, "int8")

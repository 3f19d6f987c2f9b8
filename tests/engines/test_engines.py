"""The engines give the same answers, whatever an image was batched with."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.engines.base import Engine, FeatureEngine
from app.engines.litert import LiteRTEngine
from app.engines.tflite.interface import predictions
from app.engines.weights import Weights
from app.errors import StartError
from app.mobilenet.architecture import STRIDE
from app.model.evidence import evidence
from tests.support import needs
from tests.support.weights import CLASSES, VARIANT, Converted

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module", params=["litert", "openvino", "tensorflow"])
def engine(request: pytest.FixtureRequest, weights: Weights, float32_model: Converted) -> Engine:
    if request.param == "litert":
        return LiteRTEngine(float32_model.path, 2)
    if request.param == "openvino":
        return openvino(float32_model)
    from app.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine(weights, VARIANT, 2)


def openvino(model: Converted) -> FeatureEngine:
    needs.OPENVINO.check()
    from app.engines.openvino import OpenVINOEngine

    return OpenVINOEngine(model.path, 2)


ENGINES = pytest.mark.parametrize(
    "make", [lambda model: LiteRTEngine(model.path, 2), openvino], ids=["litert", "openvino"]
)


@ENGINES
def test_the_engines_agree_within_1e_4(
    make: Callable[[Converted], Engine], weights: Weights, float32_model: Converted
) -> None:
    from app.engines.tensorflow import TensorFlowEngine
    from tests.support.networks import images

    pixels = list(images(16, VARIANT.resolution, seed=5))
    reference = TensorFlowEngine(weights, VARIANT, 2).predict(pixels)
    assert np.ptp(reference.probabilities, axis=0).max() > 0.1
    found = make(float32_model).predict(pixels)
    np.testing.assert_allclose(found.probabilities, reference.probabilities, atol=1e-4)
    np.testing.assert_allclose(found.energies, reference.energies, atol=1e-3)


@ENGINES
def test_an_image_of_a_wrong_shape_does_not_harm_the_next(
    make: Callable[[Converted], Engine], float32_model: Converted
) -> None:
    engine = make(float32_model)
    pixels = np.zeros((VARIANT.resolution, VARIANT.resolution, 3), np.uint8)
    before = engine.predict([pixels])
    with pytest.raises((RuntimeError, ValueError)):
        engine.predict([pixels[..., :2]])
    np.testing.assert_array_equal(engine.predict([pixels]).probabilities, before.probabilities)


def test_an_answer_does_not_depend_on_the_batch(engine: Engine) -> None:
    from tests.support.networks import images

    pixels = list(images(9, VARIANT.resolution, seed=7))
    alone = np.concatenate([engine.predict([image]).probabilities for image in pixels])
    for sizes in [(9,), (4, 5), (1, 8), (2, 3, 4)]:
        rest, rows = list(pixels), []
        for size in sizes:
            rows.append(engine.predict(rest[:size]).probabilities)
            rest = rest[size:]
        np.testing.assert_allclose(np.concatenate(rows), alone, atol=1e-5)


def test_answers_are_probabilities_of_all_classes(engine: Engine) -> None:
    from tests.support.networks import images

    answer = engine.predict(list(images(3, VARIANT.resolution))).probabilities
    assert (answer.shape, str(answer.dtype), engine.classes) == ((3, CLASSES), "float32", CLASSES)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


def test_what_the_places_of_an_image_say_adds_up_to_its_logits_within_1e_4(engine: FeatureEngine) -> None:
    from tests.support.networks import images

    for resolution in (VARIANT.resolution,) if engine.name == "tensorflow" else (VARIANT.resolution, 224, 96):
        pixels = list(images(4, resolution, seed=resolution))
        found, features = engine.observe(pixels)
        assert features.shape == (4, resolution // STRIDE, resolution // STRIDE, engine.channels)
        np.testing.assert_allclose(found.probabilities, engine.predict(pixels).probabilities, atol=1e-6)
        logits = np.log(found.probabilities)
        logits -= logits.mean(axis=1, keepdims=True)  # what all classes have in common is evidence for none
        assert np.ptp(logits) > 1
        whole = predictions(features.mean(axis=(1, 2)) @ engine.head.kernel + engine.head.bias)
        np.testing.assert_allclose(whole.energies, found.energies, atol=1e-4)
        for one, expected in zip(features, logits, strict=True):
            sums = evidence(one, engine.head, list(range(CLASSES))).sum(axis=(1, 2))
            np.testing.assert_allclose(sums, expected, atol=1e-4)


@ENGINES
def test_the_engines_see_the_same_in_an_image(
    make: Callable[[Converted], FeatureEngine], weights: Weights, float32_model: Converted
) -> None:
    from app.engines.tensorflow import TensorFlowEngine
    from tests.support.networks import images

    pixels = list(images(3, VARIANT.resolution, seed=2))
    found, reference = make(float32_model), TensorFlowEngine(weights, VARIANT, 2)
    (_, one), (_, other) = (engine.observe(pixels) for engine in (found, reference))
    assert np.ptp(one) > 0.1
    np.testing.assert_allclose(one, other, atol=1e-3)
    for part, same in ((found.head.kernel, reference.head.kernel), (found.head.bias, reference.head.bias)):
        np.testing.assert_allclose(part, same, atol=1e-6)


def test_openvino_answers_at_each_resolution_as_litert_does(float32_model: Converted) -> None:
    from tests.support.networks import images

    engine, reference = openvino(float32_model), LiteRTEngine(float32_model.path, 1)
    for side in (64, 96, 64, 160):
        pixels = list(images(3, side, seed=side))
        (found, features), (expected, others) = engine.observe(pixels), reference.observe(pixels)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
        np.testing.assert_allclose(features, others, atol=1e-3)


def test_answers_are_kept_when_the_next_batch_runs(engine: Engine) -> None:
    from tests.support.networks import images

    first, second = images(2, VARIANT.resolution, seed=9)
    answer = engine.predict([first])
    before = [part.copy() for part in answer]
    engine.predict([second])
    for part, copy in zip(answer, before, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_a_file_that_is_no_compiled_model_says_so(tmp_path: Path) -> None:
    for content in (b"", b"nonsense" * 100):
        (tmp_path / "model.tflite").write_bytes(content)
        with pytest.raises(StartError, match="is not a compiled model"):
            LiteRTEngine(tmp_path / "model.tflite", 1)


def test_an_engine_runs_what_was_loaded_whatever_becomes_of_the_file(float32_model: Converted, tmp_path: Path) -> None:
    from tests.support.networks import images

    copy = tmp_path / "model.tflite"
    copy.write_bytes(float32_model.path.read_bytes())
    engine = LiteRTEngine(copy, 1)
    pixels = list(images(2, VARIANT.resolution))
    before = engine.predict(pixels).probabilities
    copy.write_bytes(b"another model")
    copy.unlink()
    np.testing.assert_allclose(engine.with_threads(2).predict(pixels).probabilities, before, atol=1e-6)

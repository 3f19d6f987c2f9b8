"""Networks of Keras Applications, converted by TensorFlow's own converter, and what they answer."""

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from tests.support import needs
from tests.support.networks import images, lively
from tests.support.shared import made_once, shared_folder
from tests.support.weights import CLASSES, VARIANT


def network(activation: str | None = "softmax") -> Any:
    """Return a MobileNet of Keras Applications of `VARIANT`, which takes pixels from -1 to 1."""
    import keras

    side = VARIANT.resolution
    found = keras.applications.MobileNet(
        (side, side, 3), alpha=VARIANT.alpha, weights=None, classes=CLASSES, classifier_activation=activation
    )
    found.set_weights(_arrays())
    return found


@cache
def _arrays() -> list[NDArray[np.float32]]:
    found: list[NDArray[np.float32]] = lively(VARIANT.alpha, VARIANT.resolution, CLASSES).get_weights()
    return found


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of `.tflite` files: float32, int8, and uint8 with logits; with a scaling of its own; and others.

    `sigmoid.tflite` has independent classes, `other.tflite` is a MobileNetV2, and `unbiased.tflite` gives its features
    too, and has a classifier without a bias.
    """
    needs.TENSORFLOW.check()
    with warnings.catch_warnings(action="ignore"):  # of the converter, about statistics that it then makes itself
        return made_once(shared_folder(tmp_path_factory) / "foreign", _convert)


def _convert(folder: Path) -> None:
    import keras
    import tensorflow as tf

    pixels = keras.Input((VARIANT.resolution, VARIANT.resolution, 3))
    softmax, logits = network(), network(None)
    scaled = keras.Model(pixels, softmax(keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)))
    sigmoid = keras.Model(logits.input, keras.layers.Activation("sigmoid")(logits.output))
    features = logits.get_layer("conv_pw_13_relu").output
    dense = keras.layers.Dense(CLASSES, "softmax", use_bias=False)
    unbiased = keras.Model(logits.input, [dense(keras.layers.GlobalAveragePooling2D()(features)), features])
    dense.set_weights([_arrays()[-2].reshape(-1, CLASSES)])
    other = keras.applications.MobileNetV2(pixels.shape[1:], alpha=0.35, weights=None, classes=CLASSES)
    _save(folder / "float32", tf.lite.TFLiteConverter.from_keras_model(softmax))
    for name, model in {"scaled": scaled, "sigmoid": sigmoid, "other": other, "unbiased": unbiased}.items():
        _save(folder / name, _traced(model))
    for name, model, dtype in (("int8", softmax, tf.int8), ("uint8", logits, tf.uint8)):
        converter = _traced(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = _calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = dtype
        _save(folder / name, converter)


def _traced(model: Any) -> Any:
    """Return the converter of a model without the saved model in between, which takes most of the seconds."""
    import tensorflow as tf

    taken = [tf.TensorSpec(model.input.shape, tf.float32)]
    function = tf.function(lambda pixels: model(pixels, training=False), input_signature=taken)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    converter.experimental_lower_to_saved_model = False
    return converter


def _save(path: Path, converter: Any) -> None:
    path.with_suffix(".tflite").write_bytes(converter.convert())


def _calibration() -> Iterator[list[NDArray[np.float32]]]:
    for image in images(30, VARIANT.resolution, seed=1):
        yield [image[None].astype(np.float32) / 127.5 - 1]


def interpreted(path: Path, image: NDArray[np.uint8], low: float = -1.0, high: float = 1.0) -> NDArray[np.float32]:
    """Return the interpreter's own answer `[classes]` to an image.

    In float32 black is `low` and white is `high`; the 256 steps of the quantised inputs are those of the pixels.
    """
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    pixels = image[None] / 255 * (high - low) + low if taken["dtype"] == np.float32 else image[None].astype(int)
    pixels = pixels - 128 if taken["dtype"] == np.int8 else pixels
    interpreter.set_tensor(taken["index"], pixels.astype(taken["dtype"]))
    interpreter.invoke()
    answer = interpreter.get_tensor(given["index"])[0].astype(np.float32)
    scale, zero = given["quantization"]
    found: NDArray[np.float32] = (answer - zero) * scale if scale else answer
    return found

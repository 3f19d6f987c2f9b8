"""Turns Keras weights into a `.tflite` model and compares the two. Run as a module, by `converter`."""

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Engine, Probabilities, patterns
from app.engines.keras.reader import read
from app.errors import StartError, first_line
from app.mobilenet.variants import BASE_RESOLUTION, Precision, Variant

COMPARED = 100
"""The most images on which the compiled model is compared with Keras."""

Photos = NDArray[np.uint8]
"""Images `[n, r, r, 3]`, uint8, decoded and cropped as the service does it."""


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """How many seconds a conversion took, and how well the model agrees with Keras on so many `images`.

    `same_top1` counts the images with the same most probable class, and `largest_difference` is of a probability.
    """

    seconds: float
    images: int
    same_top1: int
    largest_difference: float


def convert(source: Path, variant: Variant, precision: Precision = "float32", photos: Photos | None = None) -> bytes:
    """Return the bytes of a `.tflite` model that takes pixels `[n, r, r, 3]`, uint8.

    It answers with logits, float32 `[n, classes]`, and the last feature map, float32 `[n, r/32, r/32, f]`, which is
    computed anyway and read only when it is asked for. LiteRT can resize its input, so one model in float32 serves
    every resolution; it is converted at that of the paper. An int8 model is calibrated on `photos`. Raises `StartError`
    for a wrong weight file.

    This imports TensorFlow. The variables become constants before the conversion, which then folds batch normalisation
    into the convolutions; with its variables left in, the model is 4.5 × slower. By way of `keras.Model.export` the
    model is the same, operation by operation and answer by answer, but it takes five times as long.
    """
    if precision == "int8" and photos is None:
        raise ValueError("int8 needs photos to calibrate with")
    arrays = read(source, variant.alpha)
    import tensorflow as tf

    from app.mobilenet.network import build, with_features

    resolution = BASE_RESOLUTION if precision == "float32" else variant.resolution
    network = build(variant.alpha, resolution, classes=len(arrays[-1]))
    network.set_weights(arrays)
    model = with_features(network, scaled=precision == "int8")
    taken = [tf.TensorSpec(model.input.shape, model.input.dtype)]
    traced = tf.function(lambda pixels: model(pixels, training=False), input_signature=taken).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], model)
    converter.experimental_lower_to_saved_model = False
    if precision == "int8" and photos is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = partial(_scaled, photos)
        # The 256 quantised steps from -1 to 1 are the pixel values 0 to 255, which need no scaling then.
        converter.inference_input_type = tf.uint8
    with warnings.catch_warnings():
        # Said of every int8 model that takes bytes; the statistics are those of the photos.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected", UserWarning)
        return bytes(converter.convert())


def _scaled(photos: Photos) -> Iterator[list[NDArray[np.float32]]]:
    # Whatever the photos are, the calibration must see both ends of the range of pixels.
    ends = np.stack([np.zeros_like(photos[0]), np.full_like(photos[0], 255)])
    for photo in np.concatenate([ends, photos]):
        yield [photo[None].astype(np.float32) / 127.5 - 1]


def compare(source: Path, variant: Variant, engine: Engine, images: Photos) -> ConversionReport:
    """Compare an engine's answers to these images with those of Keras; the report's `seconds` are 0."""
    from app.mobilenet.network import build

    arrays = read(source, variant.alpha)
    network = build(variant.alpha, variant.resolution, classes=len(arrays[-1]))
    network.set_weights(arrays)
    expected: Probabilities = network.predict(images, batch_size=10, verbose=0)
    found = np.concatenate([engine.predict([image]).probabilities for image in images])
    same = int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())
    return ConversionReport(0.0, len(images), same, float(np.abs(found - expected).max()))


def _run(source: Path, variant: Variant, precision: Precision, target: Path, photos: str) -> ConversionReport:
    from app.engines.litert import LiteRTEngine

    started = time.monotonic()
    images = np.load(photos) if photos else patterns(COMPARED, variant.resolution)
    kept = max(1, min(COMPARED, len(images) // 4)) if precision == "int8" else COMPARED
    target.write_bytes(convert(source, variant, precision, images[: len(images) - kept]))
    seconds = time.monotonic() - started
    return replace(compare(source, variant, LiteRTEngine(target, 1, precision), images[-kept:]), seconds=seconds)


def _reply(arguments: list[str]) -> dict[str, object]:
    """Return the report of a conversion, or one line that says why it failed."""
    source, alpha, resolution, precision, target, photos = arguments
    try:
        variant = Variant(float(alpha), int(resolution))
        return asdict(_run(Path(source), variant, cast("Precision", precision), Path(target), photos))
    except StartError as exc:
        return {"error": str(exc)}
    except Exception as exc:
        return {"error": f"compiling {Path(source).name} failed: {type(exc).__name__}: {first_line(exc)}"}


def _main() -> None:
    """Answer each line of standard input, a list of arguments in JSON, with a line of JSON."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no reply
        for line in sys.stdin:
            print(json.dumps(_reply(json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    _main()

"""Whether the layers that a Keras model is configured with compute what a MobileNetV1 computes, beside their shapes."""

from collections.abc import Iterator
from itertools import dropwhile, takewhile
from typing import Any

import numpy as np

from app.engines import activation
from app.engines.keras.config import ConfiguredLayer, UnsuitableModelError
from app.mobilenet.architecture import CLASSIFIER, STRIDE, Layer, layers

SCALE, OFFSET = 1 / 127.5, -1.0
"""Pixels from 0 to 255 become numbers from -1 to 1."""
ALLOWED_SCALING = (
    "-1 … 1, as by Rescaling(1/127.5, offset=-1) or keras.applications.mobilenet.preprocess_input, or no scaling in "
    "the model where it was trained on pixels scaled like that"
)
EPSILON = 1e-3
"""What batch normalisation adds to the variance."""
UNCHANGED = frozenset(
    {"InputLayer", "Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "AlphaDropout"}
    | {"ActivityRegularization", "Identity", "Cast", "cast"}
)
"""Layers that leave numbers as they are when a model predicts."""
AUGMENTATION = frozenset(
    {"RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomShear", "RandomPerspective"}
    | {"RandomHeight", "RandomWidth", "RandomContrast", "RandomBrightness", "RandomHue", "RandomSaturation"}
    | {"RandomColorJitter", "RandomColorDegeneration", "RandomGrayscale", "RandomSharpness", "RandomPosterization"}
    | {"RandomGaussianBlur", "RandomErasing", "RandAugment", "AugMix", "CutMix", "MixUp"}
)
"""Layers that change images in training alone."""
RESIZING = "Resizing"
"""The service resizes every image to `MOBILENET_RESOLUTION` itself."""
RESHAPING = frozenset({"Flatten", "Reshape"})
FIRST = frozenset({"Conv2D", "ZeroPadding2D"})
"""What the first convolution begins with; MobileNets of Keras 2.2 pad before it in a layer of its own."""
BODY = {"convolution": "Conv2D", "depthwise": "DepthwiseConv2D", "pointwise": "Conv2D"}
CLASSIFIERS = frozenset({"Conv2D", "Dense"})


def check_scaling(chain: list[ConfiguredLayer]) -> None:
    """Raise `UnsuitableModelError` unless what comes before the first convolution scales pixels as the service does.

    It may also not scale them at all.
    """
    front = takewhile(lambda layer: layer.kind not in FIRST, _effective(chain))
    scaling = [layer for layer in front if layer.kind not in AUGMENTATION | {RESIZING}]
    scale, offset = np.ones(1), np.zeros(1)
    for layer in scaling:
        factor, term = _affine(layer)
        scale, offset = scale * factor, offset * factor + term
    right = np.allclose(scale, SCALE, rtol=1e-5, atol=0) and np.allclose(offset, OFFSET, rtol=1e-5, atol=0)
    if scaling and not right:
        raise UnsuitableModelError(
            f"scales pixels to {_numbers(offset)} … {_numbers(offset + 255 * scale)} before its first convolution, by "
            f"{' and '.join(map(str, scaling))}; expected {ALLOWED_SCALING}"
        )


def check(chain: list[ConfiguredLayer], alpha: float) -> str:
    """Return what a chain ends in, `softmax`, `linear` or another activation.

    Raises `UnsuitableModelError` unless it computes a MobileNetV1 from its first convolution on. What the shapes of the
    arrays say is not compared again.
    """
    remaining = dropwhile(lambda layer: layer.kind not in FIRST, _effective(chain))
    *features, _ = layers(alpha, STRIDE)
    for layer in features:
        _check_block(layer, remaining)
    return _check_top(list(remaining))


def _effective(chain: list[ConfiguredLayer]) -> Iterator[ConfiguredLayer]:
    return (layer for layer in chain if layer.kind not in UNCHANGED and not _is_linear(layer))


def _is_linear(layer: ConfiguredLayer) -> bool:
    return layer.kind == "Activation" and layer.config["activation"] == "linear"


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in np.unique(values))


def _affine(layer: ConfiguredLayer) -> tuple[Any, Any]:
    """Return what a layer multiplies its input by, and what it adds then."""
    kind = layer.kind.lower()
    try:
        if kind == "rescaling":
            return np.asarray(layer.config["scale"], float), np.asarray(layer.config["offset"], float)
        (operand,) = layer.operands
        value = np.asarray(operand, float)
        if kind in {"truediv", "truedivide", "divide"}:
            return 1 / value, 0.0
        if kind in {"mul", "multiply"}:
            return value, 0.0
        if kind in {"sub", "subtract"}:
            return 1.0, -value
        if kind == "add":
            return 1.0, value
    except (TypeError, ValueError):
        pass
    raise UnsuitableModelError(
        f"has the layer {layer} before its first convolution, whose effect on pixels is not known; expected pixels "
        f"from {ALLOWED_SCALING}"
    )


def _check_block(expected: Layer, remaining: Iterator[ConfiguredLayer]) -> None:
    """Check a convolution, its batch normalisation and its ReLU6."""
    layer = _next(remaining, expected.name)
    padding = None
    if layer.kind == "ZeroPadding2D":
        padding, layer = layer.config["padding"], _next(remaining, expected.name)
    wanted = BODY[expected.kind]
    _require(layer, expected.name, layer.kind == wanted, f"a {wanted}")
    _check_convolution(layer, expected)
    _check_padding(layer, padding, expected)
    _check_normalisation(_next(remaining, f"{expected.name}_bn"), f"{expected.name}_bn")
    relu = _next(remaining, f"{expected.name}_relu")
    _require(relu, f"{expected.name}_relu", _is_relu6(relu), "ReLU(6.0)")


def _check_normalisation(layer: ConfiguredLayer, name: str) -> None:
    known = layer.kind in {"BatchNormalization", "SyncBatchNormalization"}
    _require(layer, name, known, "a BatchNormalization")
    _require(layer, name, abs(layer.config["epsilon"] - EPSILON) < 1e-9, f"epsilon={EPSILON}")
    _require(layer, name, layer.config["axis"] in (-1, 3, [-1], [3]), "axis=-1")


def _next(remaining: Iterator[ConfiguredLayer], name: str) -> ConfiguredLayer:
    for layer in remaining:
        return layer
    raise UnsuitableModelError(f"is not a MobileNetV1: it ends before {name}")


def _require(layer: ConfiguredLayer, name: str, right: bool, expected: str) -> None:
    if not right:
        raise UnsuitableModelError(f"is not a MobileNetV1: at {name} it has the layer {layer}, expected {expected}")


def _check_convolution(layer: ConfiguredLayer, expected: Layer) -> None:
    config = layer.config
    wanted: dict[str, Any] = {
        "strides": [expected.stride] * 2,
        "dilation_rate": [1, 1],
        "data_format": "channels_last",
        "activation": "linear",
        "groups": 1,
    }
    for key, value in wanted.items():
        found = config.get(key, value)
        found = list(found) if isinstance(found, (list, tuple)) else found
        _require(layer, expected.name, found == value or (key == "activation" and found is None), f"{key}={value}")


def _check_padding(layer: ConfiguredLayer, padding: Any, expected: Layer) -> None:
    if expected.kernel == 1 and padding is None:
        return
    # On an even side "same" pads nothing before and one pixel behind where the stride is 2 (docs/decisions/0003).
    same = [[0, 1], [0, 1]] if expected.stride == 2 else [[1, 1], [1, 1]]
    if padding is None:
        _require(layer, expected.name, layer.config["padding"] == "same", 'padding="same"')
    else:
        right = layer.config["padding"] == "valid" and [list(pair) for pair in padding] == same
        _require(layer, expected.name, right, f'padding="same", or "valid" behind ZeroPadding2D({same})')


def _is_relu6(layer: ConfiguredLayer) -> bool:
    config = layer.config
    if layer.kind == "ReLU":
        slopes = (config.get("negative_slope") or 0, config.get("threshold") or 0)
        return bool(config["max_value"] == 6 and slopes == (0, 0))
    return layer.kind.lower() == "relu6" or (layer.kind == "Activation" and activation.of("", config) == "relu6")


def _check_top(top: list[ConfiguredLayer]) -> str:
    """Check the average over all pixels and the classifier; return the activation behind it."""
    start = next((index for index, layer in enumerate(top) if layer.kind in CLASSIFIERS), len(top))
    pooling, reshaping, end = top[:start][:1], top[:start][1:], top[start:]
    # Flattening is averaging where there is one pixel; the shape of the classifier says whether there is.
    if not pooling or pooling[0].kind not in {"GlobalAveragePooling2D", "Flatten"}:
        found = f"the layer {pooling[0]}" if pooling else "nothing"
        raise UnsuitableModelError(
            f"is not a MobileNetV1: between its last convolution and its classifier it has {found}, expected a "
            "GlobalAveragePooling2D"
        )
    for layer in reshaping:
        _require(layer, CLASSIFIER, layer.kind in RESHAPING, "the classifier")
    activations = [name for layer in end if (name := _end(layer)) is not None]
    if len(activations) > 1:
        several = " and then ".join(activations)
        raise UnsuitableModelError(f"ends in {several}; expected one softmax, or nothing (logits)")
    return activations[0] if activations else "linear"


def _end(layer: ConfiguredLayer) -> str | None:
    allowed = layer.kind in CLASSIFIERS | RESHAPING or layer.kind in {"Activation", *activation.LAYERS}
    _require(layer, "its end", allowed, "a softmax, or nothing")
    name = activation.of(layer.kind, layer.config)
    return None if name == "linear" else name

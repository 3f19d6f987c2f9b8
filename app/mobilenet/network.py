"""The network in Keras, built from the table of layers. Importing this module imports TensorFlow, which is slow."""

from collections.abc import Iterable

import keras

from app.mobilenet.architecture import IMAGENET_CLASSES, Layer, layers
from app.mobilenet.variants import BASE_RESOLUTION

POOLING = "global_average_pooling"


def build(
    alpha: float,
    resolution: int | None,
    classes: int = IMAGENET_CLASSES,
    *,
    input_dtype: str = "uint8",
    dropout: float = 1e-3,
) -> keras.Model:
    """Return MobileNetV1 with random weights: RGB pixels `[n, r, r, 3]`, 0 to 255, to float32 probabilities `[n, c]`.

    The network itself scales the pixels to -1 … 1, as the published weights expect. `resolution` is a multiple of 32;
    with None the network takes images of any size. Layers, names and shapes are those of
    `keras.applications.MobileNet`, except that its padding layers are not needed: on inputs of an even size "same"
    padding pads the same pixels (docs/decisions/0003).
    """
    table = layers(alpha, resolution or BASE_RESOLUTION, classes)
    name = f"mobilenet_{alpha:g}_{resolution or 'any'}"
    return assemble(table, resolution, name=name, input_dtype=input_dtype, dropout=dropout)


def assemble(
    table: Iterable[Layer],
    resolution: int | None,
    *,
    name: str | None = None,
    input_dtype: str = "uint8",
    dropout: float = 1e-3,
) -> keras.Model:
    """Build the network of any table of layers that ends in a classifier; `build` passes MobileNetV1's table."""
    *features, classifier = table
    inputs = keras.Input((resolution, resolution, 3), dtype=input_dtype, name="pixels")
    outputs = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(inputs)
    for layer in features:
        outputs = _convolution(layer)(outputs)
        outputs = keras.layers.BatchNormalization(name=f"{layer.name}_bn")(outputs)
        outputs = keras.layers.ReLU(6.0, name=f"{layer.name}_relu")(outputs)
    outputs = keras.layers.GlobalAveragePooling2D(keepdims=True, name=POOLING)(outputs)
    outputs = keras.layers.Dropout(dropout, name="dropout")(outputs)
    outputs = keras.layers.Conv2D(classifier.out_channels, 1, padding="same", name=classifier.name)(outputs)
    outputs = keras.layers.Reshape((classifier.out_channels,), name="reshape")(outputs)
    outputs = keras.layers.Softmax(dtype="float32", name="predictions")(outputs)
    return keras.Model(inputs, outputs, name=name)


def logits(network: keras.Model) -> keras.Model:
    """Return the network without its softmax: RGB pixels `[n, r, r, 3]`, 0 to 255, to float32 logits `[n, c]`."""
    return keras.Model(network.input, network.layers[-1].input, name=network.name)


def with_features(network: keras.Model, *, scaled: bool) -> keras.Model:
    """Return the network without its softmax, as `logits` does, with the last feature map as well.

    If pixels are `scaled`, the network takes them as -1 to 1, and does not scale them itself. The outputs are
    `[logits, features]`, float32 `[n, c]` and `[n, r/32, r/32, f]`. The features are what the global average pooling is
    given. Their average is an embedding of the image, and the logits are the average over all places of the
    classifier's answer at each place (Zhou et al. 2016, arXiv:1512.04150).
    """
    first = 2 if scaled else 1
    inputs = outputs = features = keras.Input(network.input_shape[1:], dtype=None if scaled else network.input.dtype)
    for layer in network.layers[first:-1]:
        features = outputs if layer.name == POOLING else features
        outputs = layer(outputs)
    return keras.Model(inputs, [outputs, features], name=network.name)


def _convolution(layer: Layer) -> keras.Layer:
    shared = {"strides": layer.stride, "padding": "same", "use_bias": False, "name": layer.name}
    if layer.kind == "depthwise":
        return keras.layers.DepthwiseConv2D(layer.kernel, **shared)
    return keras.layers.Conv2D(layer.out_channels, layer.kernel, **shared)

"""A network in int8, simulated: batch normalisation is folded into the convolutions, and every value can be rounded.

It computes nearly what LiteRT computes with an int8 model, but in TensorFlow, which has gradients that ignore the
rounding (Jacob et al. 2017, arXiv:1712.05877). Sums, which LiteRT keeps in int32, are not rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.mobilenet.architecture import Layer, layers
from app.mobilenet.variants import BASE_RESOLUTION
from tools.training.photos import Floats, Pixels

BATCH = 32
EPSILON = 1e-3
"""The constant of Keras' batch normalisation."""
CEILING = 6.0
"""The largest value that ReLU6 gives."""
LARGEST_FACTOR = 8.0
"""The most that a channel is scaled up by; one that no photo excites must not become as large as the others."""

Answers = tuple[tf.Tensor, tf.Tensor]
"""Logits, float32 `[n, classes]`, and pooled features, float32 `[n, f]`."""
Range = tuple[float, float]
"""The lowest and the highest of the 256 values that the numbers of a tensor are rounded to."""


@dataclass(frozen=True, slots=True)
class FoldedLayer:
    """A convolution with its batch normalisation folded into it, or the classifier. Kernels have Keras' layout."""

    layer: Layer
    kernel: Any
    bias: Any

    def scaled(self, factors: Any) -> "FoldedLayer":
        """Return the layer with each output channel times its factor, `[channels]`."""
        return replace(self, kernel=self.kernel * by_output(self.layer, factors), bias=self.bias * factors)

    def convolve(self, maps: tf.Tensor) -> tf.Tensor:
        """Return the output for maps `[n, h, w, channels]`, before ReLU6."""
        stride = self.layer.stride
        if self.layer.kind == "depthwise":
            return tf.nn.depthwise_conv2d(maps, self.kernel, (1, stride, stride, 1), "SAME") + self.bias
        return tf.nn.conv2d(maps, self.kernel, stride, "SAME") + self.bias


def fold(arrays: Sequence[Floats], alpha: float) -> list[FoldedLayer]:
    """Return the layers of a network; `arrays` are in the order of Keras' `get_weights`."""
    *table, classifier = layers(alpha, BASE_RESOLUTION, len(arrays[-1]))
    folded = []
    for number, layer in enumerate(table):
        kernel, gamma, beta, mean, variance = arrays[5 * number : 5 * number + 5]
        factors = gamma / np.sqrt(variance + EPSILON)
        folded.append(FoldedLayer(layer, kernel * by_output(layer, factors), beta - mean * factors))
    return [*folded, FoldedLayer(classifier, arrays[-2], arrays[-1])]


def unfold(folded: Sequence[FoldedLayer]) -> list[Floats]:
    """Return the arrays for Keras' `set_weights`. Batch normalisation then changes nothing but adds the bias."""
    arrays: list[Floats] = []
    for one in folded[:-1]:
        ones = np.ones_like(one.bias)
        arrays += [one.kernel, ones, one.bias, 0 * ones, (1 - EPSILON) * ones]
    return [*arrays, folded[-1].kernel, folded[-1].bias]


def answers(
    folded: Sequence[FoldedLayer], pixels: tf.Tensor, ranges: Sequence[Range] = ()
) -> tuple[list[Any], Answers]:
    """Return the output of every convolution but the classifier, and the answers.

    Pixels are float32 `[n, r, r, 3]`, 0 to 255. With `ranges`, which `tensor_ranges` returns, everything is rounded as
    in int8.
    """
    *body, classifier = [rounded(one) for one in folded] if ranges else folded
    # One of the 256 values has to be 0. For LiteRT it is 127 and not 127.5, so all pixels are half a step too bright.
    maps, outputs = (pixels - (127 if ranges else 127.5)) / 127.5, []
    for number, one in enumerate(body):
        maps = _rounded_to(tf.nn.relu6(one.convolve(maps)), ranges, number)
        outputs.append(maps)
    features = _rounded_to(tf.reduce_mean(maps, (1, 2), keepdims=True), ranges, len(body))
    logits = _rounded_to(classifier.convolve(features), ranges, len(body) + 1)
    return outputs, (logits[:, 0, 0], features[:, 0, 0])


def rounded(one: FoldedLayer) -> FoldedLayer:
    """Return the layer with its kernel rounded to 255 values from -m to m, m being the largest of an output channel."""
    flat = by_channel(one.layer, one.kernel)
    most = tf.stop_gradient(tf.reduce_max(tf.abs(flat), 0))
    found = tf.quantization.fake_quant_with_min_max_vars_per_channel(flat, -most, most, narrow_range=True)
    return replace(one, kernel=tf.reshape(found, tf.shape(one.kernel)))


def peaks(folded: Sequence[FoldedLayer], photos: Pixels) -> list[Floats]:
    """Return the largest value of each channel, `[channels]`, of each convolution and of the pooled features."""
    found: list[Floats] = []
    for start in range(0, len(photos), BATCH):
        outputs, (_, features) = answers(folded, tf.cast(photos[start : start + BATCH], tf.float32))
        most = [np.asarray(tf.reduce_max(maps, (0, 1, 2))) for maps in outputs]
        most.append(np.asarray(tf.reduce_max(features, 0)))
        found = [np.maximum(old, new) for old, new in zip(found or most, most, strict=True)]
    return found


def tensor_ranges(folded: Sequence[FoldedLayer], photos: Pixels) -> list[Range]:
    """Return the range of the output of each convolution, of the pooled features and of the logits, for photos."""
    parts = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    logits = np.concatenate([answers(folded, tf.cast(part, tf.float32))[1][0] for part in parts])
    found = [(0.0, float(most.max())) for most in peaks(folded, photos)]
    return [*found, (float(logits.min()), float(logits.max()))]


def equalise(folded: Sequence[FoldedLayer], most: Sequence[Floats]) -> list[FoldedLayer]:
    """Return a network with the same answers, whose depthwise layers read channels that are larger, up to 6.

    All channels of a tensor are rounded to the same 256 values, so those with small values lose most. Each is made up
    to 8 times larger, and the depthwise kernel that reads it, which has a scale of its own, as much smaller (Nagel et
    al. 2019, arXiv:1906.04721). Values that were never reached in the photos of `most` may be cut off by ReLU6.
    """
    found = list(folded)
    for number, one in enumerate(folded):
        if one.layer.kind == "depthwise":
            factors = CEILING / np.maximum(most[number - 1], CEILING / LARGEST_FACTOR)
            found[number - 1] = found[number - 1].scaled(factors)
            found[number] = replace(one, kernel=one.kernel / factors[:, None])
    return found


def _rounded_to(maps: tf.Tensor, ranges: Sequence[Range], number: int) -> tf.Tensor:
    return tf.quantization.fake_quant_with_min_max_vars(maps, *ranges[number]) if ranges else maps


def by_output(layer: Layer, factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one factor for each output channel in a shape that multiplies the layer's kernel."""
    return factors[:, None] if layer.kind == "depthwise" else factors


def by_channel(layer: Layer, kernel: Any) -> tf.Tensor:
    """Return a kernel as `[weights, output channels]`."""
    return tf.reshape(kernel, (-1, layer.out_channels))

"""The layers of MobileNetV1 as a table (Howard et al. 2017, arXiv:1704.04861, table 1).

Everything that depends on the architecture reads this one table: the Keras network, the cost, the check of weight
files, and the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, NamedTuple

Kind = Literal["convolution", "depthwise", "pointwise", "classifier"]


class Block(NamedTuple):
    """One depthwise separable convolution: a 3 × 3 depthwise layer with this stride, then a 1 × 1 layer."""

    filters: int
    stride: int


STEM_FILTERS = 32
BODY = (
    Block(64, 1),
    Block(128, 2),
    Block(128, 1),
    Block(256, 2),
    Block(256, 1),
    Block(512, 2),
    *[Block(512, 1)] * 5,
    Block(1024, 2),
    Block(1024, 1),
)

STRIDE = 2 * prod(block.stride for block in BODY)
"""The side of the image divided by the side of the last feature map: 32."""

CLASSIFIER = "conv_preds"
IMAGENET_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer that has weights. `in_size` and `out_size` are the sides, in pixels, of its square input and output.

    Every layer except the classifier is followed by batch normalisation (`<name>_bn`) and ReLU6 (`<name>_relu`), and
    has no bias. The classifier has a bias; its input is the average over all pixels, so its sizes are 1. The names
    are those of Keras Applications, so that its published weights load by name.
    """

    name: str
    kind: Kind
    kernel: int
    stride: int
    in_size: int
    out_size: int
    in_channels: int
    out_channels: int

    @property
    def weight_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the layer's own arrays, in Keras' order; those of its batch normalisation are not included."""
        if self.kind == "depthwise":
            return ((self.kernel, self.kernel, self.in_channels, 1),)
        kernel = (self.kernel, self.kernel, self.in_channels, self.out_channels)
        return (kernel, (self.out_channels,)) if self.kind == "classifier" else (kernel,)

    def with_stride(self, stride: int, in_size: int) -> "Layer":
        """Return this layer with another stride and another input size, with "same" padding."""
        return replace(self, stride=stride, in_size=in_size, out_size=in_size // stride)


def layers(alpha: float, resolution: int, classes: int = IMAGENET_CLASSES) -> Iterator[Layer]:
    """Yield the layers of MobileNetV1 that have weights, from first to last.

    `alpha` is the width multiplier: a layer gets `int(alpha · filters)` channels (paper, section 3.3). `resolution` is
    the side of the square input in pixels (section 3.4). It is a multiple of 32, so that every layer with a stride of
    2 exactly halves its input.
    """
    channels, size = int(alpha * STEM_FILTERS), resolution // 2
    yield Layer("conv1", "convolution", 3, 2, resolution, size, 3, channels)
    for number, (filters, stride) in enumerate(BODY, start=1):
        out_channels, out_size = int(alpha * filters), size // stride
        yield Layer(f"conv_dw_{number}", "depthwise", 3, stride, size, out_size, channels, channels)
        yield Layer(f"conv_pw_{number}", "pointwise", 1, 1, out_size, out_size, channels, out_channels)
        channels, size = out_channels, out_size
    yield Layer(CLASSIFIER, "classifier", 1, 1, 1, 1, channels, classes)


def standard(depthwise: Layer, pointwise: Layer) -> Layer:
    """Return the standard convolution that a depthwise layer and the pointwise layer after it replace together."""
    return replace(
        depthwise,
        name=depthwise.name.replace("_dw_", "_"),
        kind="convolution",
        stride=depthwise.stride * pointwise.stride,
        out_size=pointwise.out_size,
        out_channels=pointwise.out_channels,
    )

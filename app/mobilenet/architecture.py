"""The layers of MobileNetV1 as a table (Howard et al. 2017, arXiv:1704.04861, Table 1).

The table drives everything: the Keras network, the cost account, the check of weight files and the tests.
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
"""How much smaller the last feature map is than the image, a side: 32."""

CLASSIFIER = "conv_preds"
IMAGENET_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with weights. Sizes are the sides, in pixels, of its square input and output.

    Every layer but the classifier is followed by batch normalisation (`<name>_bn`) and ReLU6 (`<name>_relu`)
    and has no bias; the classifier has a bias and reads the globally averaged features, one pixel.
    Names are those of Keras Applications, so that its published weights load by name.
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
        """Shapes of the layer's own arrays in Keras' order, without those of its batch normalisation."""
        if self.kind == "depthwise":
            return ((self.kernel, self.kernel, self.in_channels, 1),)
        kernel = (self.kernel, self.kernel, self.in_channels, self.out_channels)
        return (kernel, (self.out_channels,)) if self.kind == "classifier" else (kernel,)

    def with_stride(self, stride: int, in_size: int) -> "Layer":
        """Return this layer with another stride on an input of this size, "same" padded."""
        return replace(self, stride=stride, in_size=in_size, out_size=in_size // stride)


def layers(alpha: float, resolution: int, classes: int = IMAGENET_CLASSES) -> Iterator[Layer]:
    """Yield the layers with weights of MobileNetV1, first to last.

    `alpha` thins every layer to `int(alpha · filters)` channels (paper, section 3.3); `resolution` is the side of
    the square input in pixels (section 3.4) and a multiple of 32, so that every strided layer halves its input.
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
    """Return the standard convolution that a depthwise layer and the pointwise one behind it stand in for."""
    return replace(
        depthwise,
        name=depthwise.name.replace("_dw_", "_"),
        kind="convolution",
        stride=depthwise.stride * pointwise.stride,
        out_size=pointwise.out_size,
        out_channels=pointwise.out_channels,
    )

"""What MobileNetV1 is compared with, as tables of layers: two networks of the paper, and a common mistake."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.mobilenet.architecture import BODY, Block, Layer, layers, standard

Architecture = Callable[[float, int, int], Iterator[Layer]]
"""α, resolution and classes to layers, as `architecture.layers`."""

_REMOVED = [
    f"{kind}_{number}" for number, block in enumerate(BODY, 1) if block == Block(512, 1) for kind in ("dw", "pw")
]


def full_convolution(alpha: float, resolution: int, classes: int) -> Iterator[Layer]:
    """Yield MobileNetV1 with one standard convolution for each separable one (paper, table 4)."""
    stem, *features, classifier = layers(alpha, resolution, classes)
    yield stem
    for depthwise, pointwise in zip(features[::2], features[1::2], strict=True):
        yield standard(depthwise, pointwise)
    yield classifier


def shallow(alpha: float, resolution: int, classes: int) -> Iterator[Layer]:
    """Yield MobileNetV1 without its five separable convolutions of 14 × 14 × 512 (paper, table 5)."""
    return (layer for layer in layers(alpha, resolution, classes) if layer.name.removeprefix("conv_") not in _REMOVED)


def pointwise_stride(alpha: float, resolution: int, classes: int) -> Iterator[Layer]:
    """Yield MobileNetV1 with every stride moved from the depthwise convolution to the pointwise one behind it.

    The feature maps and the parameters are the same; the depthwise layer filters four pixels where one is kept.
    """
    stride = 1
    for layer in layers(alpha, resolution, classes):
        if layer.kind == "depthwise":
            stride = layer.stride
            yield layer.with_stride(1, layer.in_size)
        elif layer.kind == "pointwise":
            yield layer.with_stride(stride, layer.in_size * stride)
        else:
            yield layer


@dataclass(frozen=True, slots=True)
class Ablation:
    """A network to compare with, and its ImageNet top-1 in per cent at α 1 @ 224 where the paper has it."""

    name: str
    description: str
    layers: Architecture
    paper_top1: float | None = None


ABLATIONS = (
    Ablation(
        "full convolution",
        "a standard 3 × 3 convolution in place of each depthwise separable one",
        full_convolution,
        71.7,
    ),
    Ablation("shallow", "without the five separable convolutions of 14 × 14 × 512", shallow, 65.3),
    Ablation(
        "stride on the pointwise",
        "a common mistake: the 1 × 1 convolution throws away three of four pixels that the 3 × 3 one has filtered",
        pointwise_stride,
    ),
)

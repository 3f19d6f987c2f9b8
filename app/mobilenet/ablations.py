"""Networks that MobileNetV1 is compared with, as tables of layers: two from the paper, and a common mistake."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.mobilenet.architecture import BODY, Block, Layer, layers, standard

Architecture = Callable[[float, int, int], Iterator[Layer]]
"""A function like `architecture.layers`: it takes α, the resolution and the number of classes, and yields layers."""

_REMOVED = [
    f"{kind}_{number}" for number, block in enumerate(BODY, 1) if block == Block(512, 1) for kind in ("dw", "pw")
]


def full_convolution(alpha: float, resolution: int, classes: int) -> Iterator[Layer]:
    """Yield MobileNetV1 with a standard convolution in place of each separable one (paper, table 4)."""
    stem, *features, classifier = layers(alpha, resolution, classes)
    yield stem
    for depthwise, pointwise in zip(features[::2], features[1::2], strict=True):
        yield standard(depthwise, pointwise)
    yield classifier


def shallow(alpha: float, resolution: int, classes: int) -> Iterator[Layer]:
    """Yield MobileNetV1 without its five separable convolutions of 14 × 14 × 512 (paper, table 5)."""
    return (layer for layer in layers(alpha, resolution, classes) if layer.name.removeprefix("conv_") not in _REMOVED)


def pointwise_stride(alpha: float, resolution: int, classes: int) -> Iterator[Layer]:
    """Yield MobileNetV1 with every stride moved from the depthwise convolution to the pointwise one after it.

    The parameters, and the output of each block, have the same shapes as before. But the depthwise layer now computes
    four pixels for each one that the pointwise layer then reads, so three quarters of its work is thrown away.
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
    """A network to compare with. `paper_top1` is its ImageNet top-1 in per cent at α 1 @ 224, if the paper gives it."""

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
        "a common mistake: the 1 × 1 convolution skips three of every four pixels that the 3 × 3 one has computed",
        pointwise_stride,
    ),
)

"""What a MobileNetV1 costs: exact arithmetic on the table of layers, nothing measured and nothing copied.

MACs are the multiply-accumulates of the convolutions and the classifier for one image; batch normalisation folds
into them and ReLU6, pooling and softmax are left out, as in the paper. FLOPs are 2 × MACs: one multiplication and
one addition each.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from app.mobilenet.architecture import IMAGENET_CLASSES, Layer, layers
from app.mobilenet.variants import Variant

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer's MACs for one image, its parameters with those of its batch normalisation, and its output size."""

    layer: Layer
    macs: int
    parameters: int
    trainable: int
    activation_bytes: int

    @property
    def flops(self) -> int:
        """2 × MACs."""
        return 2 * self.macs

    @classmethod
    def of(cls, layer: Layer) -> "LayerCost":
        """Count one layer (paper, equations 2 and 5, with the output's size where the layer is strided)."""
        inputs = 1 if layer.kind == "depthwise" else layer.in_channels
        weights = layer.kernel**2 * inputs * layer.out_channels
        # Batch normalisation has γ and β, which train, and a moving mean and variance, which do not.
        trained, fixed = (1, 0) if layer.kind == "classifier" else (2, 2)
        activations = layer.out_size**2 * layer.out_channels
        return cls(
            layer=layer,
            macs=weights * layer.out_size**2,
            parameters=weights + (trained + fixed) * layer.out_channels,
            trainable=weights + trained * layer.out_channels,
            activation_bytes=activations * FLOAT32_BYTES,
        )


@dataclass(frozen=True, slots=True)
class SeparableCost:
    """A depthwise and its pointwise layer, against the one standard convolution that they replace.

    With kernel K, N output channels and M input channels the ratio is 1/N + 1/K² (paper, section 3.1).
    """

    name: str
    macs: int
    standard_macs: int

    @property
    def ratio(self) -> float:
        """MACs of the separable layer over those of the standard one, below 1."""
        return self.macs / self.standard_macs

    @classmethod
    def of(cls, depthwise: LayerCost, pointwise: LayerCost) -> "SeparableCost":
        """Pair a depthwise layer with the pointwise layer that follows it."""
        first, last = depthwise.layer, pointwise.layer
        standard = first.kernel**2 * first.in_channels * last.out_channels * last.out_size**2
        return cls(f"{first.name}+{last.name}", depthwise.macs + pointwise.macs, standard)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a whole network: MACs and FLOPs for one image, parameters, and the layers they come from."""

    macs: int
    parameters: int
    trainable: int
    activation_bytes: int
    layers: tuple[LayerCost, ...]
    separable: tuple[SeparableCost, ...]

    @property
    def flops(self) -> int:
        """2 × MACs."""
        return 2 * self.macs

    @classmethod
    def of(cls, network: Iterable[Layer]) -> "Cost":
        """Count any sequence of layers; activations are the sum of all layers' outputs in float32."""
        costs = tuple(LayerCost.of(layer) for layer in network)
        return cls(
            macs=sum(cost.macs for cost in costs),
            parameters=sum(cost.parameters for cost in costs),
            trainable=sum(cost.trainable for cost in costs),
            activation_bytes=sum(cost.activation_bytes for cost in costs),
            layers=costs,
            separable=tuple(SeparableCost.of(a, b) for a, b in pairwise(costs) if a.layer.kind == "depthwise"),
        )


def cost(variant: Variant, classes: int = IMAGENET_CLASSES) -> Cost:
    """Count the MobileNetV1 of this variant with this many classes."""
    return Cost.of(layers(variant.alpha, variant.resolution, classes))

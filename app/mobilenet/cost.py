"""What a MobileNetV1 costs: exact arithmetic on the table of layers, nothing measured and nothing copied.

MACs are the multiply-accumulates of the convolutions and the classifier for one image; batch normalisation folds
into them and ReLU6, pooling and softmax are left out, as in the paper. FLOPs are 2 × MACs: one multiplication and
one addition each.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod

from app.mobilenet.architecture import IMAGENET_CLASSES, Layer, layers, standard
from app.mobilenet.variants import Variant

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer's MACs for one image, its parameters with those of its batch normalisation, and its output size.

    `standard_macs` are those of the standard convolution in its place: for a depthwise and for a pointwise layer the
    one that both together replace, for the others the layer itself.
    """

    layer: Layer
    macs: int
    parameters: int
    trainable: int
    activation_bytes: int
    standard_macs: int

    @property
    def flops(self) -> int:
        """2 × MACs."""
        return 2 * self.macs

    @property
    def ratio(self) -> float:
        """MACs over those of the standard convolution: 1/N of a depthwise layer and 1/K² of a pointwise one.

        N is the number of channels that the pointwise layer puts out and K the kernel of the depthwise one (paper,
        section 3.1).
        """
        return self.macs / self.standard_macs

    @classmethod
    def of(cls, layer: Layer, replaced: Layer | None = None) -> "LayerCost":
        """Count one layer (paper, equations 2 and 5, with the output's size where the layer is strided)."""
        weights = _weights(layer)
        # Batch normalisation has γ and β, which train, and a moving mean and variance, which do not.
        trained, fixed = (1, 0) if layer.kind == "classifier" else (2, 2)
        activations = layer.out_size**2 * layer.out_channels
        return cls(
            layer=layer,
            macs=_macs(layer),
            parameters=weights + (trained + fixed) * layer.out_channels,
            trainable=weights + trained * layer.out_channels,
            activation_bytes=activations * FLOAT32_BYTES,
            standard_macs=_macs(replaced or layer),
        )


@dataclass(frozen=True, slots=True)
class SeparableCost:
    """A depthwise and its pointwise layer, against the one standard convolution that they replace.

    With kernel K, N output channels and M input channels the ratio is 1/N + 1/K² (paper, section 3.1).
    """

    name: str
    macs: int
    standard_macs: int
    parameters: int
    standard_parameters: int

    @property
    def ratio(self) -> float:
        """MACs of the separable layer over those of the standard one, below 1."""
        return self.macs / self.standard_macs

    @classmethod
    def of(cls, depthwise: LayerCost, pointwise: LayerCost) -> "SeparableCost":
        """Pair a depthwise layer with the pointwise layer that follows it."""
        replaced = LayerCost.of(standard(depthwise.layer, pointwise.layer))
        return cls(
            name=f"{depthwise.layer.name}+{pointwise.layer.name}",
            macs=depthwise.macs + pointwise.macs,
            standard_macs=replaced.macs,
            parameters=depthwise.parameters + pointwise.parameters,
            standard_parameters=replaced.parameters,
        )


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
        sequence = tuple(network)
        pairs = [(first, second) for first, second in pairwise(sequence) if first.kind == "depthwise"]
        replaced = {layer.name: standard(*pair) for pair in pairs for layer in pair}
        costs = tuple(LayerCost.of(layer, replaced.get(layer.name)) for layer in sequence)
        return cls(
            macs=sum(cost.macs for cost in costs),
            parameters=sum(cost.parameters for cost in costs),
            trainable=sum(cost.trainable for cost in costs),
            activation_bytes=sum(cost.activation_bytes for cost in costs),
            layers=costs,
            separable=tuple(SeparableCost.of(a, b) for a, b in pairwise(costs) if a.layer.kind == "depthwise"),
        )


@lru_cache(maxsize=64)  # bounded: anybody may ask for any resolution
def cost(variant: Variant, classes: int = IMAGENET_CLASSES) -> Cost:
    """Count the MobileNetV1 of this variant with this many classes."""
    return Cost.of(layers(variant.alpha, variant.resolution, classes))


def _weights(layer: Layer) -> int:
    return sum(prod(shape) for shape in layer.weight_shapes if len(shape) > 1)


def _macs(layer: Layer) -> int:
    return _weights(layer) * layer.out_size**2

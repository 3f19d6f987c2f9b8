"""What a MobileNetV1 costs, computed exactly from the table of layers; nothing is measured or copied from elsewhere.

A MAC is one multiply-accumulate. Counted are the convolutions and the classifier, for one image. As in the paper,
batch normalisation is not counted because it folds into the convolution before it, and ReLU6, pooling and softmax are
left out. FLOPs are 2 × MACs, since each MAC is one multiplication and one addition.
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
    """What one layer costs: MACs for one image, parameters including its batch normalisation, and bytes of its output.

    `standard_macs` are the MACs of the standard convolution that would stand in its place. A depthwise layer and the
    pointwise layer after it replace one standard convolution together, so both have the MACs of that one. Any other
    layer has its own MACs there.
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
        """MACs divided by those of the standard convolution: 1/N for a depthwise layer, 1/K² for a pointwise one.

        N is the number of output channels of the pointwise layer and K the kernel size of the depthwise one (paper,
        section 3.1).
        """
        return self.macs / self.standard_macs

    @classmethod
    def of(cls, layer: Layer, replaced: Layer | None = None) -> "LayerCost":
        """Count one layer by equations 2 and 5 of the paper, where F is the size of the output.

        `replaced` is the standard convolution that this layer helps to replace, if any.
        """
        weights = _weights(layer)
        # For each channel, batch normalisation has γ and β, which are trained, and a moving mean and variance, which
        # are not. The classifier has a bias instead.
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
    """A depthwise layer and its pointwise layer together, beside the one standard convolution that they replace.

    With a K × K kernel and N output channels the ratio of their MACs is 1/N + 1/K² (paper, section 3.1).
    """

    name: str
    macs: int
    standard_macs: int
    parameters: int
    standard_parameters: int

    @property
    def ratio(self) -> float:
        """MACs of the separable convolution divided by those of the standard one; below 1."""
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
    """The cost of a whole network: MACs and FLOPs for one image, parameters, and the layers that they come from."""

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
        """Count any sequence of layers. `activation_bytes` is the sum of the outputs of all layers in float32."""
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


@lru_cache(maxsize=64)  # bounded, because any caller of `/model-info` may ask for any resolution
def cost(variant: Variant, classes: int = IMAGENET_CLASSES) -> Cost:
    """Return the cost of MobileNetV1 in this variant with this many classes."""
    return Cost.of(layers(variant.alpha, variant.resolution, classes))


def _weights(layer: Layer) -> int:
    return sum(prod(shape) for shape in layer.weight_shapes if len(shape) > 1)


def _macs(layer: Layer) -> int:
    return _weights(layer) * layer.out_size**2

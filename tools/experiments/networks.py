"""The networks of the experiments, and the resolutions at which they learn and are measured."""

from dataclasses import dataclass, field
from enum import StrEnum

import torch

from app.machine import instructions
from app.mobilenet.ablations import ABLATIONS, Architecture, full_convolution, shallow
from app.mobilenet.architecture import IMAGENET_CLASSES, layers
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import BASE, PUBLISHED, RESOLUTIONS, Variant
from app.training.schedule import Shares
from tools.distillation.batches import SHARES
from tools.distillation.network import Network
from tools.experiments.results import ONE_FOR_ALL

RESOLUTION = 128
"""The resolution, in pixels, at which architectures are compared."""
BFLOAT16 = {"amx_bf16", "avx512_bf16"}
"""What Linux calls the instructions for it."""


@dataclass(frozen=True, slots=True)
class ComparedNetwork:
    """One of the networks of an experiment."""

    name: str
    architecture: Architecture
    alpha: float
    shares: Shares = field(default_factory=lambda: {RESOLUTION: 1.0})
    """The share of each resolution, in pixels, in the batches that it learns from."""
    measured: tuple[int, ...] = (RESOLUTION,)
    """The resolutions at which its accuracy is measured."""

    def cost(self, resolution: int, classes: int) -> Cost:
        """Return the cost of the network for an image of this resolution."""
        return Cost.of(self.architecture(self.alpha, resolution, classes))

    def build(self, classes: int, precision: torch.dtype) -> Network:
        """Return the network in PyTorch, with random weights; it computes in this precision."""
        return Network(self.architecture(self.alpha, RESOLUTION, classes), precision)


def fastest_precision(device: str) -> torch.dtype:
    """Return bfloat16 for a GPU, or a CPU that computes in it. Others imitate it, many times slower than float32."""
    has_it = torch.device(device).type == "cuda" or BFLOAT16 & instructions()
    return torch.bfloat16 if has_it else torch.float32


def architectures(alpha: float) -> list[ComparedNetwork]:
    """Return networks of other layers. As in the paper, the narrow one costs about as much as the shallow one."""
    return [
        ComparedNetwork("separable", layers, alpha),
        ComparedNetwork("shallow", shallow, alpha),
        ComparedNetwork("narrow", layers, 0.75 * alpha),
        ComparedNetwork("full convolution", full_convolution, alpha),
    ]


def resolutions(alpha: float) -> list[ComparedNetwork]:
    """Return a network for each resolution, as the paper has them, and one that serves all, as the bundled weights do.

    The last one learns at the mixture at which the bundled weights learnt the features of their teacher.
    """
    own = [ComparedNetwork(f"trained at {side}", layers, alpha, {side: 1.0}, (side,)) for side in RESOLUTIONS]
    return [*own, ComparedNetwork(ONE_FOR_ALL, layers, alpha, SHARES, RESOLUTIONS)]


class Experiment(StrEnum):
    """What the networks of an experiment differ in."""

    ARCHITECTURE = "architecture"
    RESOLUTION = "resolution"

    def networks(self, alpha: float) -> list[ComparedNetwork]:
        """Return the networks that are compared, with this width multiplier."""
        return (architectures if self is Experiment.ARCHITECTURE else resolutions)(alpha)


def paper() -> dict[str, tuple[int, float]]:
    """Return the MACs, and the ImageNet top-1 in per cent, of the networks in tables 4 and 5 of the paper."""
    networks = {item.name: (item.layers, item.paper_top1) for item in ABLATIONS}
    found = {
        name: (Cost.of(architecture(1.0, BASE.resolution, IMAGENET_CLASSES)).macs, top1)
        for name, (architecture, top1) in networks.items()
        if top1 is not None
    }
    for name, variant in (("separable", BASE), ("narrow", Variant(0.75, BASE.resolution))):
        top1 = PUBLISHED[variant].paper_top1
        assert top1 is not None
        found[name] = cost(variant).macs, top1
    return found

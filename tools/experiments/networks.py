"""The networks of the experiments: full against separable convolution, and shallow against narrow."""

from dataclasses import dataclass

import torch

from app.mobilenet.ablations import ABLATIONS, Architecture, full_convolution, shallow
from app.mobilenet.architecture import IMAGENET_CLASSES, layers
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import BASE, PUBLISHED, Variant
from tools.distillation.network import Network

RESOLUTION = 128


@dataclass(frozen=True, slots=True)
class ComparedNetwork:
    """One of the networks of an experiment."""

    name: str
    architecture: Architecture
    alpha: float

    def cost(self, classes: int) -> Cost:
        """Return the cost of the network."""
        return Cost.of(self.architecture(self.alpha, RESOLUTION, classes))

    def build(self, classes: int) -> Network:
        """Return the network in PyTorch, with random weights. It computes in bfloat16, which is faster."""
        return Network(self.architecture(self.alpha, RESOLUTION, classes), torch.bfloat16)


def compared_networks(alpha: float) -> list[ComparedNetwork]:
    """Return the networks to compare. As in the paper, the narrow one costs about as much as the shallow one."""
    return [
        ComparedNetwork("separable", layers, alpha),
        ComparedNetwork("shallow", shallow, alpha),
        ComparedNetwork("narrow", layers, 0.75 * alpha),
        ComparedNetwork("full convolution", full_convolution, alpha),
    ]


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

"""The variants of MobileNetV1, each named by two numbers, α and the resolution, and their published accuracy."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from app.mobilenet.architecture import STRIDE

ALPHAS = (1.0, 0.75, 0.5, 0.25)
RESOLUTIONS = (224, 192, 160, 128)
BASE_RESOLUTION = 224
LARGEST_RESOLUTION = 2048
"""A larger input would cost over eighty times what one of 224 pixels does, for which weights are made."""

Precision = Literal["float32", "int8", "bfloat16"]
"""The number format of weights and arithmetic. int8 means 8-bit integers, with a scale for each channel of weights.

bfloat16 is float32 without its last 16 bits. It is what a model in float32 is computed in, and not stored.
"""


def stored(precision: Precision) -> Precision:
    """Return the precision of the file that a model of this precision is read from."""
    return "float32" if precision == "bfloat16" else precision


@dataclass(frozen=True)
class Variant:
    """A width multiplier α, one of `ALPHAS`, and a resolution in pixels, a multiple of 32 up to 2,048.

    Raises `ValueError` for any other value; the message says what is allowed.
    """

    alpha: float
    resolution: int

    def __post_init__(self) -> None:
        if self.alpha not in ALPHAS:
            raise ValueError(f"alpha {self.alpha:g} is not one of {', '.join(f'{alpha:g}' for alpha in ALPHAS)}")
        if not STRIDE <= self.resolution <= LARGEST_RESOLUTION or self.resolution % STRIDE:
            allowed = f"a multiple of {STRIDE} from {STRIDE} to {LARGEST_RESOLUTION}"
            raise ValueError(f"resolution {self.resolution} is not {allowed}")

    @classmethod
    def parse(cls, name: str) -> "Variant":
        """Read a name such as `0.5/160`: α, a slash, the resolution. Raises `ValueError` that says what is allowed."""
        alpha, _, resolution = name.partition("/")
        try:
            numbers = float(alpha), int(resolution)
        except ValueError:
            raise ValueError(f"{name[:80]!r} is not a variant such as 0.5/160: α, a slash, the resolution") from None
        return cls(*numbers)

    @cached_property
    def name(self) -> str:
        """The name that `parse` reads, such as `0.5/160`."""
        return f"{self.alpha:g}/{self.resolution}"

    @property
    def rho(self) -> float:
        """The resolution multiplier ρ of the paper (section 3.4): resolution / 224."""
        return self.resolution / BASE_RESOLUTION

    def __str__(self) -> str:
        return f"α {self.alpha:g} @ {self.resolution}"


BASE = Variant(1.0, BASE_RESOLUTION)
"""The full network of the paper. The other variants are thinner (a smaller α) or see a smaller image."""


@dataclass(frozen=True, slots=True)
class Published:
    """Published ImageNet accuracy in per cent.

    `paper_top1` is from the paper, which gives it for 7 of the 16 variants. The others are of the released checkpoints.
    """

    paper_top1: float | None
    checkpoint_top1: float
    checkpoint_top5: float


PAPER = "Howard et al. 2017, arXiv:1704.04861, tables 6 and 7"
CHECKPOINTS = "TensorFlow Models, research/slim/nets/mobilenet_v1.md, checkpoints of 2018-02-22"

PUBLISHED = {
    Variant(1.0, 224): Published(70.6, 70.9, 89.9),
    Variant(1.0, 192): Published(69.1, 70.0, 89.2),
    Variant(1.0, 160): Published(67.2, 68.0, 87.7),
    Variant(1.0, 128): Published(64.4, 65.2, 85.8),
    Variant(0.75, 224): Published(68.4, 68.4, 88.2),
    Variant(0.75, 192): Published(None, 67.2, 87.3),
    Variant(0.75, 160): Published(None, 65.3, 86.0),
    Variant(0.75, 128): Published(None, 62.1, 83.9),
    Variant(0.5, 224): Published(63.7, 63.3, 84.9),
    Variant(0.5, 192): Published(None, 61.7, 83.6),
    Variant(0.5, 160): Published(None, 59.1, 81.9),
    Variant(0.5, 128): Published(None, 56.3, 79.4),
    Variant(0.25, 224): Published(50.6, 49.8, 74.2),
    Variant(0.25, 192): Published(None, 47.7, 72.3),
    Variant(0.25, 160): Published(None, 45.5, 70.3),
    Variant(0.25, 128): Published(None, 41.5, 66.3),
}

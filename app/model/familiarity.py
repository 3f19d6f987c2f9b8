"""How familiar an image looks to a model: where its energy lies among those of held-out photos of the model's classes.

Liu et al. 2020, arXiv:2010.03759, take the energy of the logits to tell images of other classes from those of the
classes that a network was trained on (docs/decisions/0028).
"""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from app.errors import StartError, why
from app.mobilenet.variants import Precision, Variant, stored

NAME = "familiarity.json"
STEPS = 100
"""Quantiles of 0, 1, 2 … 100 % are kept of the energies that were measured."""
FEWEST = 19
"""So many photos have to be measured: of n + 1 photos one in n + 1 has the lowest energy, and 5 % are one in 20."""


class Familiarity(BaseModel):
    """The energies of photos of the model's classes that it was not trained on, in one variant and precision."""

    model_config = ConfigDict(frozen=True)

    alpha: float
    resolution: int
    precision: Precision
    images: int = Field(gt=0, description="how many photos were measured")
    energies: tuple[float, ...] = Field(
        min_length=STEPS + 1, max_length=STEPS + 1, description="the quantiles of 0, 1, 2 … 100 % of their energies"
    )

    @field_validator("energies")
    @classmethod
    def _ascend(cls, energies: tuple[float, ...]) -> tuple[float, ...]:
        if not np.isfinite(energies).all() or list(energies) != sorted(energies):
            raise ValueError("must be finite numbers that ascend")
        return energies

    def share(self, energy: float) -> float:
        """Return the share of these photos with a lower energy, 0 to 1, rounded to four digits.

        Between two quantiles it is interpolated, so that it never falls where the energy rises.
        """
        above = bisect_right(self.energies, energy)
        if above == 0:
            return 0.0
        if above > STEPS:
            return 1.0
        low, high = self.energies[above - 1], self.energies[above]
        return round((above - 1 + (energy - low) / (high - low)) / STEPS, 4)


FAMILIARITIES = TypeAdapter(list[Familiarity])


def measure(energies: Sequence[float]) -> tuple[float, ...]:
    """Return the 101 quantiles of energies, rounded to four digits, for the `energies` of a `Familiarity`.

    The k-th lowest of n is the quantile k / (n + 1), which is the mean share of other photos that are below it.
    """
    return tuple(np.quantile(energies, np.linspace(0, 1, STEPS + 1), method="weibull").round(4).tolist())


def auroc(inside: Sequence[float], outside: Sequence[float]) -> float:
    """Return how often an image of the classes has a higher energy than one of other things, 0.5 to 1 if it helps.

    This is the area under the receiver operating characteristic: the share of all pairs, where a tie counts half.
    """
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, "left") + np.searchsorted(ordered, inside, "right")
    return float(below.mean() / 2 / len(ordered))


def read(folder: Path) -> list[Familiarity]:
    """Read `familiarity.json` in a folder of weights; the list is empty if there is none.

    Raises `StartError`, whose message is one line, if the file cannot be read or is damaged.
    """
    path = folder / NAME
    try:
        return FAMILIARITIES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as exc:
        raise StartError(f"cannot read {path}: {why(exc)}") from exc


def find(folder: Path, variant: Variant, precision: Precision) -> Familiarity | None:
    """Return what was measured of the weights in a folder in this variant and precision; None if too little was.

    bfloat16 has the energies of float32, which it only rounds: energies of its own would change a share by 0.012 at
    most (measured on 1,273 photos, in five variants). Raises as `read` does.
    """
    key = (variant.alpha, variant.resolution, stored(precision))
    known = (one for one in read(folder) if one.images >= FEWEST)
    return next((one for one in known if (one.alpha, one.resolution, one.precision) == key), None)

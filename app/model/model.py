"""The model that is served: an engine with loaded weights, and everything that is known about it."""

from dataclasses import dataclass
from math import isnan
from pathlib import Path

from app.engines.base import Engine
from app.measurements import Score
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import PUBLISHED, Precision, Variant
from app.model import scores
from app.model.familiarity import Familiarity
from app.model.labels import Labels


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model and what is known about it. Two models are never equal, even of the same variant."""

    engine: Engine
    variant: Variant
    labels: Labels
    weights: str
    weights_sha256: str
    published: bool
    scores: tuple[Score, ...] = ()
    """What was measured of these weights, in this and in other variants."""
    golden: Path | None = None
    """The folder of the golden images that the model has to answer as pinned, if there is one."""
    familiarity: Familiarity | None = None
    """The energies of photos of its classes, by which other images are judged; None if they were not measured."""
    channels: int = 0
    """The length of its embeddings; 0 if it gives no features, as others compiled it."""
    first_s: float = 0.0
    """Seconds that one image took in the self-test: the first estimate of its latency."""

    @property
    def top1(self) -> float | None:
        """The share of photos it classifies correctly, 0 to 1, as measured or as published; None if unknown.

        It is known for weights that were trained here and for the published ImageNet weights only.
        """
        return self.top1_in(self.variant, self.engine.precision)

    def top1_in(self, variant: Variant, precision: Precision) -> float | None:
        """Return the share of photos, 0 to 1, that these weights classify correctly in a variant and a precision.

        None if nobody has measured it; what is published is of float32.
        """
        if score := scores.find(self.scores, variant, precision):
            return score.top1
        published = PUBLISHED.get(variant) if self.published and precision == "float32" else None
        return published.checkpoint_top1 / 100 if published else None

    def score(self, variant: Variant) -> Score | None:
        """Return what was measured of these weights in a variant, and in the precision of this model."""
        return scores.find(self.scores, variant, self.engine.precision)

    def familiarity_of(self, energy: float) -> float | None:
        """Return how familiar an image of this energy is, as `Familiarity.share` says; None if that is unknown."""
        return None if self.familiarity is None or isnan(energy) else self.familiarity.share(energy)

    @property
    def cost(self) -> Cost:
        """The exact cost of one image."""
        return cost(self.variant, self.engine.classes)

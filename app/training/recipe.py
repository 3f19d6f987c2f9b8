"""How a network is trained on somebody's photos: what it starts from, for how long, and how photos are varied."""

from pydantic import BaseModel, ConfigDict

from app.mobilenet.variants import RESOLUTIONS, Variant
from app.training.schedule import Phases, Schedule

RANDOM = "random"
"""What `start` is for a network with random weights."""
RATE = 2e-3
"""The highest learning rate. A network that starts from random weights bears, and needs, a higher one."""
RANDOM_RATE = 4e-3
OWN_SHARE = 0.5
"""The share of batches at the resolution that the network is trained for; the others share the rest."""
LARGEST_BATCH = 64
MOST_BATCHES = 30
"""Few photos are cut into smaller batches, so that an epoch has about so many."""
SMALLEST_BATCH = 16


class Recipe(BaseModel):
    """What a training is asked for. Whoever goes on with one has to ask for the same."""

    model_config = ConfigDict(frozen=True)

    alpha: float
    resolution: int
    start: str
    epochs: int
    head_only: bool
    mirror: bool
    validation: str
    seed: int

    @property
    def variant(self) -> Variant:
        """The variant that the network is trained for, though it serves the other resolutions too."""
        return Variant(self.alpha, self.resolution)

    @property
    def phases(self) -> Phases:
        """One phase, in which the resolution that is asked for has half of the batches and the others the rest."""
        others = [one for one in RESOLUTIONS if one != self.resolution]
        return ((1.0, {self.resolution: OWN_SHARE} | dict.fromkeys(others, (1 - OWN_SHARE) / len(others))),)

    def schedule(self, photos: int) -> Schedule:
        """Return the schedule of a training on so many photos."""
        batch = min(photos, max(SMALLEST_BATCH, min(LARGEST_BATCH, photos // MOST_BATCHES)))
        rate = RANDOM_RATE if self.start == RANDOM else RATE
        return Schedule(self.epochs, photos // batch, self.seed, self.phases, rate, batch)

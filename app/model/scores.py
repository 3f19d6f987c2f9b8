"""What the bundled weights score: `model_weights/accuracy.json`, written by `tools.weights.evaluate`."""

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.config import MODEL_WEIGHTS
from app.mobilenet.variants import Precision, Variant

PATH = MODEL_WEIGHTS / "accuracy.json"


class Score(BaseModel):
    """How often a model is right on photos with known classes; shares are 0 to 1."""

    model_config = ConfigDict(frozen=True)

    weights: str = Field(examples=["imagenette"])
    weights_sha256: str
    alpha: float = Field(examples=[0.5])
    resolution: int = Field(examples=[160])
    precision: Precision
    data: str = Field(description="which photos, none of them trained on")
    images: int = Field(gt=0, description="how many photos", examples=[2000])
    top1: float = Field(ge=0, le=1, description="share whose most probable class is the right one")
    top5: float = Field(ge=0, le=1, description="share whose right class is among the five most probable")
    calibration_error: float = Field(
        ge=0,
        le=1,
        description="expected calibration error, 15 bins: how far the probability of the most probable class is from "
        "how often it is right",
    )

    @property
    def key(self) -> tuple[str, float, int, str]:
        """What the score is of."""
        return self.weights, self.alpha, self.resolution, self.precision


SCORES = TypeAdapter(list[Score])


def read(path: Path = PATH) -> list[Score]:
    """Read a file of scores; there are none without the file. Raises `ValueError`."""
    return SCORES.validate_json(path.read_bytes()) if path.is_file() else []


@cache
def find(weights: str, variant: Variant, precision: Precision) -> Score | None:
    """Return what bundled weights of this name score in this variant and precision; None if nobody measured."""
    key = (weights, variant.alpha, variant.resolution, precision)
    return next((score for score in read() if score.key == key), None)

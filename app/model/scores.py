"""The measured accuracy of the bundled weights: `model_weights/accuracy.json`, written by `tools.weights.evaluate`."""

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.config import MODEL_WEIGHTS
from app.mobilenet.variants import Precision, Variant

PATH = MODEL_WEIGHTS / "accuracy.json"


class Score(BaseModel):
    """How often a model is right on photos whose classes are known. Shares are 0 to 1."""

    model_config = ConfigDict(frozen=True)

    weights: str = Field(examples=["imagenette"])
    weights_sha256: str
    alpha: float = Field(examples=[0.5])
    resolution: int = Field(examples=[160])
    precision: Precision
    data: str = Field(description="the photos it was measured on; the model was not trained on them")
    images: int = Field(gt=0, description="number of photos", examples=[2000])
    top1: float = Field(ge=0, le=1, description="share of photos whose most probable class is the right one")
    top5: float = Field(ge=0, le=1, description="share of photos whose right class is among the five most probable")
    calibration_error: float = Field(
        ge=0,
        le=1,
        description="expected calibration error in 15 bins: the mean difference between the probability of the most "
        "probable class and how often it is right",
    )

    @property
    def key(self) -> tuple[str, float, int, str]:
        """Identifies the model that was measured: weights, α, resolution and precision."""
        return self.weights, self.alpha, self.resolution, self.precision


SCORES = TypeAdapter(list[Score])


def read(path: Path = PATH) -> list[Score]:
    """Read a file of scores; the list is empty if there is no file. Raises `ValueError` if the file is damaged."""
    return SCORES.validate_json(path.read_bytes()) if path.is_file() else []


@cache
def find(weights: str, variant: Variant, precision: Precision) -> Score | None:
    """Return the score of the weights of this name in this variant and precision; None if it was not measured."""
    key = (weights, variant.alpha, variant.resolution, precision)
    return next((score for score in read() if score.key == key), None)

"""What is measured of a variant: how accurate it is, and how long it takes."""

from pydantic import BaseModel, ConfigDict, Field

from app.mobilenet.variants import Precision

UNFAMILIAR = 0.05
"""An image with a smaller familiarity is unfamiliar; so are 5 % of the photos of a model's classes."""


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


class Latency(BaseModel):
    """How many milliseconds the network takes for one image; decoding and HTTP are not included."""

    model_config = ConfigDict(frozen=True)

    alpha: float = Field(examples=[0.5])
    resolution: int = Field(examples=[160])
    classes: int
    precision: Precision
    engine: str = Field(examples=["litert"])
    threads: int = Field(description="threads that the model ran on")
    weights: str | None = Field(
        None, examples=["imagenette"], description="the weights that ran; null in what older versions have saved"
    )
    machine: str = Field(description="the machine that measured it", examples=["AMD EPYC 9B14, 2 CPUs"])
    measured: str = Field(description="the day of the measurement, in UTC", examples=["2026-11-24"])
    runs: int = Field(description="how many runs were timed, after a warm-up")
    median_ms: float = Field(gt=0)
    p95_ms: float = Field(gt=0, description="95 % of the runs took no longer than this")
    turns_ms: tuple[float, ...] = Field(
        (), description="the median of each turn; empty in what older versions have saved", examples=[[2.1, 2.2]]
    )
    contest: str | None = Field(
        None,
        examples=["2026-11-24T10:30:00+00:00"],
        description="when `mobilenet bench` began to measure this setting and others by turns, in UTC; only the turns "
        "of the same contest can be compared. Null in what older versions have saved",
    )

    @property
    def setup(self) -> tuple[str, str, Precision, int, int]:
        """The conditions of the measurement; latencies of two variants can be compared only if these are equal."""
        return self.machine, self.engine, self.precision, self.threads, self.classes

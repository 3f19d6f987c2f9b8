"""The result of one image: a classification by one model or by several, or an error."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from app.engines.base import Probabilities
from app.errors import ServiceError
from app.imaging.region import Region
from app.model.evidence import Embedding, Evidence
from app.model.model import Model
from app.runtime.pipeline import Outcome


@dataclass(slots=True, eq=False)
class Classification:
    """The probabilities `[classes]` of one image, where its time went, and how many images ran with it.

    `energy`, `format`, `embedding`, `evidence` and `region` are those of the `Outcome`. `began` has three times of
    `time.monotonic`: when the image was queued, when its decoding began and when the run of its batch began. If several
    models ran on the image, `runs` has the classification of each in order, `model`, `probabilities`, `energy`,
    `embedding` and `evidence` are those of the one that gives the answer, and the times are sums over all.
    """

    model: Model
    probabilities: Probabilities
    energy: float
    decode_ms: float
    queue_ms: float
    inference_ms: float
    batch_size: int
    format: str
    began: tuple[float, float, float]
    embedding: Embedding | None = None
    evidence: Evidence | None = None
    region: Region | None = None
    runs: tuple["Classification", ...] = ()
    familiarity: float | None = field(init=False)
    """How familiar the image is to the model, 0 to 1; None if that is unknown."""

    def __post_init__(self) -> None:
        self.familiarity = self.model.familiarity_of(self.energy)

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that ran on the image."""
        return tuple([run.model for run in self.runs]) or (self.model,)


Result = Classification | ServiceError


def assemble(models: Sequence[Model], outcomes: Sequence[Outcome], batch_size: int, queued: float) -> Classification:
    """Return the classification of an image that was decoded once for these models.

    `queued` is the time of `time.monotonic` at which it was queued. The first run gets the times of decoding and
    queueing, so that sums over the runs count them once.
    """
    decode_ms, elapsed_ms = outcomes[0].decode_ms, (time.monotonic() - queued) * 1000
    queue_ms = max(0.0, elapsed_ms - decode_ms - sum([one.inference_ms for one in outcomes]))
    first = _run(models[0], outcomes[0], (decode_ms, queue_ms), batch_size, queued)
    if len(outcomes) == 1:
        return first
    others = [_run(*pair, (0.0, 0.0), batch_size, queued) for pair in zip(models[1:], outcomes[1:], strict=True)]
    return replace(first, runs=(first, *others))


def _run(model: Model, one: Outcome, times: tuple[float, float], batch_size: int, queued: float) -> Classification:
    began = (queued, one.decode_began, one.inference_began)
    about = (*times, one.inference_ms, batch_size, one.format, began, one.embedding, one.evidence, one.region)
    return Classification(model, one.probabilities, one.energy, *about)


def combine(runs: Sequence[Classification], at: int) -> Classification:
    """Return the run at this place among the runs on an image, with all of them as its `runs` and with summed times."""
    return replace(
        runs[at],
        decode_ms=sum(run.decode_ms for run in runs),
        queue_ms=sum(run.queue_ms for run in runs),
        inference_ms=sum(run.inference_ms for run in runs),
        batch_size=max(run.batch_size for run in runs),
        runs=tuple(runs),
    )

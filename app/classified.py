"""What came of one image: the answer of one model, or of several that ran on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.engines.engine import Probabilities
from app.errors import ServiceError
from app.model import Model
from app.pipeline import Outcome


@dataclass(frozen=True, slots=True)
class Classified:
    """The probabilities `[classes]` of one image, where its time went, and how many images ran with it.

    If several models ran on the image, `runs` are all of them in order, this is the answer, and its times are sums.
    """

    model: Model
    probabilities: Probabilities
    decode_ms: float
    queue_ms: float
    inference_ms: float
    batch_size: int
    runs: tuple["Classified", ...] = ()

    @property
    def models(self) -> list[Model]:
        """The models that ran on the image."""
        return [run.model for run in self.runs] or [self.model]


Found = Classified | ServiceError


def classified(models: Sequence[Model], outcomes: Sequence[Outcome], elapsed_ms: float, batch_size: int) -> Classified:
    """Put together what came of one decoding, which the first run is charged for, as it is for the waiting."""
    decode_ms = outcomes[0].decode_ms
    queue_ms = max(0.0, elapsed_ms - decode_ms - sum(one.inference_ms for one in outcomes))
    first = Classified(models[0], outcomes[0].probabilities, decode_ms, queue_ms, outcomes[0].inference_ms, batch_size)
    others = [
        Classified(model, one.probabilities, 0.0, 0.0, one.inference_ms, batch_size)
        for model, one in zip(models[1:], outcomes[1:], strict=True)
    ]
    return replace(first, runs=(first, *others)) if others else first


def summed(runs: Sequence[Classified], at: int) -> Classified:
    """Return one of the runs on an image, by its place, as the answer, with the times of all."""
    return replace(
        runs[at],
        decode_ms=sum(run.decode_ms for run in runs),
        queue_ms=sum(run.queue_ms for run in runs),
        inference_ms=sum(run.inference_ms for run in runs),
        batch_size=max(run.batch_size for run in runs),
        runs=tuple(runs),
    )

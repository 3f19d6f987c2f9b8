"""A template whose workers start at once and have a model of colours; `pool` runs it in tests in place of the real one.

An image `b"hang"` is never decoded, and the process that hangs has the name `HANGS`; `b"bug"` raises what no image
should. The first probability of every other image is the threads that the model ran on, in hundredths.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app import config
from app.config import Settings
from app.engines.base import Pixels, Predictions
from app.model.model import Model
from app.runtime import worker
from app.runtime.local import Decoding, Local
from app.runtime.pipeline import Job
from tests.support.fakes import ColourEngine, colour_model

HANGS = "hangs"
SHORT_S = 5.0
"""What stands here for the patience with a worker, and again for what a worker that was given up has left."""


class Photo(str):
    """A photo in base64 to which there can be weak references."""


class Threaded(ColourEngine):
    """Answers with the number of its threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def with_threads(self, threads: int) -> "Threaded":
        """Return the same engine with other threads."""
        return Threaded(threads)

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return as each probability a hundredth of the threads."""
        shares = np.full((len(images), self.classes), self._threads / 100, np.float32)
        return Predictions(shares, shares[:, 0])


class Odd(Local):
    """Decodes as always what is neither to hang nor to fail."""

    def with_models(self, models: Sequence[Model]) -> Local:
        """Return the same pipeline for other models."""
        return Odd(models, 10**6)

    def decode(self, job: Job, large: bool = False) -> Decoding:
        """Decode an image, hang or fail."""
        while job.payload == b"hang":
            Path("/proc/self/comm").write_text(HANGS)
            time.sleep(1)
        if job.payload == b"bug":
            raise KeyError("a bug")
        return super().decode(job, large)


def odd(settings: Settings) -> Local:
    """Return the pipeline, on as many threads as the template asks for."""
    return Odd([replace(colour_model(), engine=Threaded(settings.model_threads))], 10**6)


if __name__ == "__main__":
    config.STALLED_AT_LEAST_S = worker.GRACE_S = SHORT_S
    worker.in_process = odd  # type: ignore[assignment,attr-defined]
    worker.main(int(sys.argv[1]))

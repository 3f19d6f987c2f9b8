"""Classifies and embeds photos on this machine, for callers that wait: the command line, and batches."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from app.config import Settings
from app.errors import ClientError, InternalError, ServiceError, StartError, first_line
from app.imaging.bounds import LargeImage
from app.measurements import UNFAMILIAR
from app.model.evidence import LAYER, Embedding
from app.model.labels import top_k
from app.model.selftest import SelfTestFailed
from app.runtime.loading import start_loading
from app.runtime.pipeline import NOTHING, Job, JobResult, Outcome, Wish
from app.schemas import Prediction, Predictions

T = TypeVar("T")
PhotoResult = Predictions | ServiceError | ClientError
"""The most probable classes of a photo and how familiar it is; or the error that it failed with."""
VectorResult = Embedding | ServiceError | ClientError
"""The embedding of a photo, or the error that it failed with."""


DEFAULT_TOP_K = 5


class Source(NamedTuple):
    """What embeddings come from. Those of different sources cannot be compared."""

    weights: str
    weights_sha256: str
    variant: str
    precision: str
    classes: int
    layer: str = LAYER


def top_k_or_default(
    wanted: int | None, classes: int, name: str = "--top-k", error: type[Exception] = StartError
) -> int:
    """Return how many classes are answered. Raises `error`, which has `name`, if more are wanted than there are."""
    if wanted is not None and not 1 <= wanted <= classes:
        raise error(f"{name} {wanted} is not between 1 and {classes}, the number of classes")
    return wanted or min(DEFAULT_TOP_K, classes)


class LocalBackend:
    """Runs the model that the settings name, in as many processes as they say. Raises `StartError`."""

    def __init__(self, settings: Settings) -> None:
        try:
            self._pipeline = start_loading(settings)()
        except SelfTestFailed as exc:
            raise StartError(str(exc)) from exc
        self.model = self._pipeline.models[0]
        self.classes = self.model.engine.classes
        self.size = settings.max_batch_size
        self.at_once = self._pipeline.runs
        self._one_large = threading.Lock()  # large images are decoded one at a time, to bound the memory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
        """Classify as `Backend.classify` describes."""
        found = self.outcomes(images, NOTHING)
        return [self.named(one, k) if isinstance(one, Outcome) else one for one in found]

    def embed(self, images: Sequence[bytes]) -> list[VectorResult]:
        """Embed as `Backend.embed` describes."""
        found = self.outcomes(images, Wish(embedding=True))
        return [cast("Embedding", one.embedding) if isinstance(one, Outcome) else one for one in found]

    def source(self) -> Source:
        """Return what the embeddings come from. Raises `StartError` if the model gives none."""
        model = self.model
        if not model.channels:
            raise StartError(f"{model.weights} gives no embeddings: it was compiled without them")
        return Source(model.weights, model.weights_sha256, model.variant.name, model.engine.precision, self.classes)

    def outcomes(self, images: Sequence[bytes], wish: Wish) -> list[Outcome | ServiceError]:
        """Return what came of each image file, in order: all that is wished for, or its error.

        May be called from several threads at once. Raises `StartError` once the model classifies nothing any more, so
        that no photo has an error that is not its own.
        """
        results = self._run(images, wish)
        return [self._outcome(image, result, wish) for image, result in zip(images, results, strict=True)]

    def _run(self, images: Sequence[bytes], wish: Wish, large: bool = False) -> list[JobResult]:
        """Return the result of each image, by itself if one of them makes all of them fail. Raises `StartError`."""
        jobs = [Job(image, (self.model.variant,), wish) for image in images]
        try:
            return self._wait(self._pipeline.run(jobs, large))
        except Exception:  # a photo may have crashed the worker; only that one must fail
            if len(images) > 1:
                return [result for image in images for result in self._run([image], wish, large)]
        self._check()
        return [InternalError("the image could not be classified")]

    def _check(self) -> None:
        """Raise `StartError` if not even a black image is classified: then no photo is to blame."""
        side = self.model.variant.resolution
        try:
            self._wait(self._pipeline.run([Job(np.zeros((side, side, 3), np.uint8), (self.model.variant,))]))
        except Exception as exc:
            raise StartError(f"the model cannot go on: {self._pipeline.fault or first_line(exc)}") from exc

    def _outcome(self, image: bytes, result: JobResult, wish: Wish) -> Outcome | ServiceError:
        if isinstance(result, LargeImage):
            with self._one_large:
                (result,) = self._run([image], wish, large=True)
        if isinstance(result, LargeImage):
            return InternalError("the image is too large")
        return result if isinstance(result, ServiceError) else result[0]

    def named(self, outcome: Outcome, k: int) -> Predictions:
        """Return the `k` most probable classes with their names, and how familiar the image is."""
        named = ((self.model.labels[index], share) for index, share in top_k(outcome.probabilities, k))
        predictions = [
            Prediction(class_id=label.class_id, wordnet_id=label.wordnet_id, label=label.label, probability=share)
            for label, share in named
        ]
        familiarity = self.model.familiarity_of(outcome.energy)
        unfamiliar = True if familiarity is not None and familiarity < UNFAMILIAR else None
        return Predictions(predictions=predictions, familiarity=familiarity, unfamiliar=unfamiliar)

    def close(self) -> None:
        """Stop the processes."""
        self._wait(self._pipeline.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

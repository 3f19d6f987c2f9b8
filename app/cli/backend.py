"""What classifies and embeds photos: a model on this machine, or a service, with the same results."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import numpy as np

from app.cli.budget import loaded_there
from app.client import Client
from app.client.calls import PredictOptions, VariantOptions
from app.client.client import EmbeddedItem
from app.client.many import MOST_IN_REQUEST
from app.config import Settings
from app.errors import (
    ClientError,
    InternalError,
    ServiceError,
    StartError,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
)
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

FIRST_PATIENCE_S, PATIENCE_S = 3.0, 60.0
"""How long to retry: the first call fails soon, as the address may be wrong; later ones wait for a busy service."""


class Source(NamedTuple):
    """What embeddings come from. Those of different sources cannot be compared."""

    weights: str
    weights_sha256: str
    variant: str
    precision: str
    classes: int
    layer: str = LAYER


class Backend(Protocol):
    """Something that classifies and embeds photos."""

    classes: int
    size: int  # how many photos to pass in one call
    at_once: int  # how many calls at a time keep it busy

    def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
        """Return a result for each image file, in order: its `k` most probable classes, or its error.

        May be called from several threads at once.
        """
        ...

    def embed(self, images: Sequence[bytes]) -> list[VectorResult]:
        """Return a result for each image file, in order: its embedding, or its error. Otherwise as `classify`."""
        ...

    def source(self) -> Source:
        """Return what the embeddings come from. Raises `StartError` if there are none."""
        ...

    def close(self) -> None:
        """Free its processes or connections."""
        ...


class LocalBackend:
    """Runs the model that the settings name, in as many processes as they say. Raises `StartError`."""

    def __init__(self, settings: Settings) -> None:
        try:
            self._pipeline = start_loading(settings)()
        except SelfTestFailed as exc:
            raise StartError(str(exc)) from exc
        self._model = self._pipeline.models[0]
        self.classes = self._model.engine.classes
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
        found = self._outcomes(images, NOTHING)
        return [self._named(one, k) if isinstance(one, Outcome) else one for one in found]

    def embed(self, images: Sequence[bytes]) -> list[VectorResult]:
        """Embed as `Backend.embed` describes."""
        found = self._outcomes(images, Wish(embedding=True))
        return [cast("Embedding", one.embedding) if isinstance(one, Outcome) else one for one in found]

    def source(self) -> Source:
        """Return what the embeddings come from. Raises `StartError` if the model gives none."""
        model = self._model
        if not model.channels:
            raise StartError(f"{model.weights} gives no embeddings: it was compiled without them")
        return Source(model.weights, model.weights_sha256, model.variant.name, model.engine.precision, self.classes)

    def _outcomes(self, images: Sequence[bytes], wish: Wish) -> list[Outcome | ServiceError]:
        try:
            results = self._run(images, wish)
        except Exception:  # a photo may have crashed the worker; only that one must fail
            if len(images) > 1:
                return [result for image in images for result in self._outcomes([image], wish)]
            return [InternalError("the image could not be classified")]
        return [self._outcome(image, result, wish) for image, result in zip(images, results, strict=True)]

    def _run(self, images: Sequence[bytes], wish: Wish, large: bool = False) -> list[JobResult]:
        jobs = [Job(image, (self._model.variant,), wish) for image in images]
        return self._wait(self._pipeline.run(jobs, large))

    def _outcome(self, image: bytes, result: JobResult, wish: Wish) -> Outcome | ServiceError:
        if isinstance(result, LargeImage):
            with self._one_large:
                (result,) = self._run([image], wish, large=True)
        if isinstance(result, LargeImage):
            return InternalError("the image is too large")
        return result if isinstance(result, ServiceError) else result[0]

    def _named(self, outcome: Outcome, k: int) -> Predictions:
        named = ((self._model.labels[index], share) for index, share in top_k(outcome.probabilities, k))
        predictions = [
            Prediction(class_id=label.class_id, wordnet_id=label.wordnet_id, label=label.label, probability=share)
            for label, share in named
        ]
        familiarity = self._model.familiarity_of(outcome.energy)
        unfamiliar = True if familiarity is not None and familiarity < UNFAMILIAR else None
        return Predictions(predictions=predictions, familiarity=familiarity, unfamiliar=unfamiliar)

    def close(self) -> None:
        """Stop the processes."""
        self._wait(self._pipeline.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RemoteBackend:
    """Asks the service at an address for the variant or within the budget that `wanted` says.

    Raises `StartError` if the service does not answer, refuses the key or has not loaded the variant.
    """

    def __init__(
        self, url: str, api_key: str | None, connections: int | None, wanted: PredictOptions | None = None
    ) -> None:
        self._wanted: PredictOptions = wanted or {}
        try:
            with Client(url, api_key=api_key, patience_s=FIRST_PATIENCE_S) as client:
                info = loaded_there(client, self._wanted)
        except Unauthorized as exc:
            raise StartError(f"{exc}: set MOBILENET_API_KEYS, or pass --api-key") from exc
        except (ValueError, ServiceError, ClientError) as exc:
            raise StartError(str(exc)) from exc
        self.classes = info.classes
        self.size = min(MOST_IN_REQUEST, info.batching.max_batch_size)
        self.at_once = connections or max(1, info.batching.max_queue // 4 // self.size)
        self._client = Client(url, api_key=api_key, patience_s=PATIENCE_S, connections=self.at_once)
        self._source = Source(
            str(info.weights),
            str(info.weights_sha256),
            f"{info.alpha:g}/{info.resolution}",
            str(info.precision),
            info.classes,
        )
        self._gone: Unreachable | None = None  # once it is unreachable, no further photo waits for it in vain

    def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
        """Classify as `Backend.classify` describes. Photos that are too much for one request are sent in two."""
        asked: PredictOptions = {**self._wanted, "top_k": k}
        return self._unless_gone(images, lambda: [one.result for one in self._client.predict_each(images, **asked)])

    def embed(self, images: Sequence[bytes]) -> list[VectorResult]:
        """Embed as `Backend.embed` describes. Photos that are too much for one request are sent in two."""
        variant: VariantOptions = {
            "alpha": self._wanted.get("alpha"),
            "resolution": self._wanted.get("resolution"),
        }
        return self._unless_gone(
            images, lambda: [self._vector(one) for one in self._client.embed_each(images, **variant)]
        )

    def source(self) -> Source:
        """Return what the embeddings come from."""
        return self._source

    def _vector(self, item: EmbeddedItem) -> VectorResult:
        if isinstance(item.result, Exception):
            return item.result
        if item.response and item.response.weights_sha256 != self._source.weights_sha256:
            return UnexpectedAnswer("the weights of the service were changed meanwhile; embeddings of both do not mix")
        return np.array(item.result.embedding, np.float32)

    def _unless_gone(
        self, images: Sequence[bytes], ask: Callable[[], list[T | ServiceError | ClientError]]
    ) -> list[T | ServiceError | ClientError]:
        """Ask, unless the service could not be reached before: no further photo waits for it in vain."""
        if self._gone:
            return [self._gone] * len(images)
        results = ask()
        self._gone = self._gone or next((one for one in results if isinstance(one, Unreachable)), None)
        return results

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

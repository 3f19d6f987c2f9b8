"""`mobilenet classify`: classifies many photos at once, on this machine or by a service, with the same results."""

import asyncio
import threading
from collections.abc import Coroutine, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from app.cli.photos import PhotoFile
from app.client import Client
from app.client.retry import error_of
from app.config import Settings
from app.errors import BodyTooLarge, ClientError, InternalError, ServiceError, StartError, Unreachable, Unreadable
from app.imaging.decode import LargeImage
from app.measurements import UNFAMILIAR
from app.model.labels import top_k
from app.model.selftest import SelfTestFailed
from app.runtime.loading import start_loading
from app.runtime.pipeline import Job, JobResult
from app.schemas import Prediction, Predictions

T = TypeVar("T")
PhotoResult = Predictions | ServiceError | ClientError
"""The most probable classes of a photo and how familiar it is; or the error that it failed with."""

MOST_IN_REQUEST = 8
"""How many photos to send in one request at most; docs/decisions/0018 says why."""
FIRST_PATIENCE_S, PATIENCE_S = 3.0, 60.0
"""How long to retry: the first call fails soon, as the address may be wrong; later ones wait for a busy service."""


class Backend(Protocol):
    """Something that classifies photos."""

    classes: int
    size: int  # how many photos to pass in one call
    at_once: int  # how many calls at a time keep it busy

    def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
        """Return a result for each image file, in order: its `k` most probable classes, or its error.

        May be called from several threads at once.
        """
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
        try:
            results = self._run(images)
        except Exception:  # a photo may have crashed the worker; only that one must fail
            if len(images) > 1:
                return [result for image in images for result in self.classify([image], k)]
            return [InternalError("the image could not be classified")]
        return [self._result(image, result, k) for image, result in zip(images, results, strict=True)]

    def _run(self, images: Sequence[bytes], large: bool = False) -> list[JobResult]:
        return self._wait(self._pipeline.run([Job(image, (self._model.variant,)) for image in images], large))

    def _result(self, image: bytes, result: JobResult, k: int) -> PhotoResult:
        if isinstance(result, LargeImage):
            with self._one_large:
                (result,) = self._run([image], large=True)
        if isinstance(result, ServiceError):
            return result
        if isinstance(result, LargeImage):
            return InternalError("the image is too large")
        (outcome,) = result
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
    """Asks the service at an address. Raises `StartError` if the service does not answer or refuses the key."""

    def __init__(self, url: str, api_key: str | None, connections: int | None) -> None:
        try:
            with Client(url, api_key=api_key, patience_s=FIRST_PATIENCE_S) as client:
                info = client.model_info()
        except (ValueError, ServiceError, ClientError) as exc:
            raise StartError(str(exc)) from exc
        self.classes = info.classes
        self.size = min(MOST_IN_REQUEST, info.batching.max_batch_size)
        self.at_once = connections or max(1, info.batching.max_queue // 4 // self.size)
        self._client = Client(url, api_key=api_key, patience_s=PATIENCE_S, connections=self.at_once)
        self._gone: Unreachable | None = None  # once it is unreachable, no further photo waits for it in vain

    def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
        """Classify as `Backend.classify` describes. Photos that are too much for one request are sent in two."""
        if self._gone:
            return [self._gone] * len(images)
        try:
            results = self._client.predict(*images, top_k=k).results
        except Unreachable as exc:
            self._gone = exc
            return [exc] * len(images)
        except (ServiceError, ClientError) as exc:
            if exc.status == BodyTooLarge.status and len(images) > 1:
                half = len(images) // 2
                return [*self.classify(images[:half], k), *self.classify(images[half:], k)]
            return [exc] * len(images)
        return [one if isinstance(one, Predictions) else error_of(one.error) for one in results]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


MOST_BYTES: Final = 8 * 2**20
"""The most bytes of several photos in one call: a request must not be too large, nor its photos fill the memory."""


def classify_photos(photos: Sequence[PhotoFile], backend: Backend, k: int) -> Generator[tuple[PhotoFile, PhotoResult]]:
    """Yield each photo with its `k` most probable classes or its error, in order, as soon as all before it are done."""
    size = max(1, min(backend.size, len(photos) // backend.at_once))  # few photos go in smaller groups, to all calls
    groups = list(_groups(photos, size))
    with ThreadPoolExecutor(backend.at_once) as pool:
        for group, results in zip(groups, pool.map(partial(_classify, backend, k), groups), strict=True):
            yield from zip(group, results, strict=True)


def _groups(photos: Sequence[PhotoFile], size: int) -> Iterator[list[PhotoFile]]:
    group: list[PhotoFile] = []
    room = MOST_BYTES
    for photo in photos:
        if group and (len(group) == size or photo.size > room):
            yield group
            group, room = [], MOST_BYTES
        group.append(photo)
        room -= photo.size
    if group:
        yield group


def _classify(backend: Backend, k: int, group: list[PhotoFile]) -> list[PhotoResult]:
    files = [_read(photo) for photo in group]
    whole = [file for file in files if isinstance(file, bytes)]
    results = iter(backend.classify(whole, k) if whole else ())
    return [next(results) if isinstance(file, bytes) else file for file in files]


def _read(photo: PhotoFile) -> bytes | Unreadable:
    try:
        return photo.read()
    except Unreadable as exc:
        return exc

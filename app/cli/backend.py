"""What classifies and embeds photos: a model on this machine, or a service, with the same results."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from app.cli.budget import loaded_there
from app.client import Client
from app.client.calls import PredictOptions, VariantOptions
from app.client.client import EmbeddedItem
from app.client.many import MOST_IN_REQUEST
from app.errors import ClientError, NoConnection, ServiceError, StartError, Unauthorized, UnexpectedAnswer
from app.prediction.blocking import PhotoResult, Source, VectorResult

T = TypeVar("T")

FIRST_PATIENCE_S, PATIENCE_S = 3.0, 60.0
"""How long to retry: the first call fails soon, as the address may be wrong; later ones wait for a busy service."""


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
        self._gone: NoConnection | None = None  # once there is none, no further photo waits for one in vain

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
        """Ask, unless no connection could be made before: no further photo waits for one in vain."""
        if self._gone:
            return [self._gone] * len(images)
        results = ask()
        self._gone = self._gone or next((one for one in results if isinstance(one, NoConnection)), None)
        return results

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

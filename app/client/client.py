"""Calls the service from Python and blocks until an answer comes."""

from collections.abc import Generator, Iterable
from contextlib import closing
from functools import partial
from queue import LifoQueue
from typing import Any, Self, TypeVar, Unpack

import httpx

from app.client.calls import (
    CONCURRENCY,
    CONNECTIONS,
    PATIENCE_S,
    TIMEOUT_S,
    URL,
    Ask,
    Calls,
    PredictOptions,
    RequestOptions,
    Size,
    VariantOptions,
    check_many,
    http_options,
)
from app.client.images import Image, bytes_about, content, content_or_error
from app.client.many import LEFT, Item, Progress, group_size, grouped, in_order, total
from app.client.retry import Attempt, Exchange
from app.errors import NoConnection, Unreachable
from app.schemas import (
    Catalogue,
    Compared,
    Embedded,
    EmbedResponse,
    LabelItem,
    ModelInfo,
    Predictions,
    PredictResponse,
    Staged,
)

T = TypeVar("T")
R = TypeVar("R")
PredictedItem = Item[Predictions | Staged | Compared, PredictResponse]
"""One of many images that were classified."""
EmbeddedItem = Item[Embedded, EmbedResponse]
"""One of many images that have an embedding each."""


class Client(Calls):
    """Calls a service and blocks until it answers. Threads can share one client, and with it its connections.

    `url` is the address of the service and `api_key` one of its keys. `timeout_s` bounds each wait for the network, in
    seconds. A request that is refused (429, 502 or 503), or whose connection is lost, is sent again, not before
    `Retry-After` if the service says that, until the pauses add up to `patience_s` seconds. At most `connections`
    requests are under way at a time; further calls wait for their turn.

    An image is a path (`str` or `os.PathLike`), the `bytes` of an image file, a binary file object, an image of Pillow
    or an array of NumPy (`Image` says which).

    Each call raises the `ServiceError` that the service answers with, `Unreachable`, or `UnexpectedAnswer`. It raises
    `Unreadable` for a file that cannot be read, `TypeError` or `ValueError` for what is not an image, and `ValueError`
    for a `request_id` or a `deadline_ms` that a header cannot hold. The constructor raises `ValueError` if `url` is not
    an address, if a header cannot hold `api_key`, or if there is to be no connection.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        connections: int = CONNECTIONS,
    ) -> None:
        options = http_options(url, api_key, timeout_s, connections)
        self._http: httpx.Client = httpx.Client(**options)
        self._patience_s = patience_s
        # One httpx client per connection, because a pool that threads share sometimes closes a connection that one of
        # them has just taken.
        self._connections = [httpx.Client(**options) for _ in range(connections)]
        self._idle: LifoQueue[httpx.Client] = LifoQueue()  # the one used last is the least likely to have been closed
        for connection in self._connections:
            self._idle.put(connection)

    def predict(self, *images: Image, **options: Unpack[PredictOptions]) -> PredictResponse:
        """Classify one image or several. Of several, each has its own result or its own error, in order.

        If a single image fails, its error is raised. `PredictOptions` lists what can be asked for, such as `top_k=3`,
        `max_latency_ms=50` or `deadline_ms=500`.
        """
        return self._run(self._predict([*map(content, images)], options))

    def predict_each(self, images: Iterable[Image], **options: Unpack[PredictOptions]) -> list[PredictedItem]:
        """Classify images in one request, or in several if they are too much for one, and raise no error of theirs.

        Each image has its result or its error, in order. There may be none.
        """
        check_many(images)
        return self._group(partial(self._predict, options=options), [], [*images])

    def predict_many(
        self,
        images: Iterable[Image],
        *,
        concurrency: int = CONCURRENCY,
        progress: Progress | None = None,
        **options: Unpack[PredictOptions],
    ) -> Generator[PredictedItem]:
        """Classify any number of images, and yield each with its result or its error, in order.

        Images are taken from the iterable only as they are needed, and travel up to eight to a request, with up to
        `concurrency` requests under way. `progress` is called after each image with how many are done and how many
        there are, which is None if `images` has no length. Once no connection can be made, all further images have
        that error at once. Closing the iterator ends it early.
        """
        return self._many(partial(self._predict, options=options), images, concurrency, progress)

    def explain(
        self,
        image: Image,
        class_: int | str | None = None,
        *,
        size: Size = "input",
        **options: Unpack[VariantOptions],
    ) -> bytes:
        """Return a PNG of an image with the evidence for a class over it: by default, for the most probable one.

        `class_` is the number, the label or the WordNet id of a class. The picture shows what the network sees, or with
        `size="photo"` all of the photo. `alpha` and `resolution` choose a loaded variant.
        """
        return self._run(self._explain(content(image), class_, {"size": size, **options}))

    def embed(self, *images: Image, unit: bool = False, **options: Unpack[VariantOptions]) -> EmbedResponse:
        """Return the embedding of one image or several, each of length 1 with `unit`.

        Of several, each has its own result or its own error, in order. If a single image fails, its error is raised.
        `alpha` and `resolution` choose a loaded variant.
        """
        return self._run(self._embed([*map(content, images)], {"unit": unit, **options}))

    def embed_each(
        self, images: Iterable[Image], *, unit: bool = False, **options: Unpack[VariantOptions]
    ) -> list[EmbeddedItem]:
        """Return the embeddings of images as `predict_each` returns predictions."""
        check_many(images)
        return self._group(partial(self._embed, options={"unit": unit, **options}), [], [*images])

    def embed_many(
        self,
        images: Iterable[Image],
        *,
        unit: bool = False,
        concurrency: int = CONCURRENCY,
        progress: Progress | None = None,
        **options: Unpack[VariantOptions],
    ) -> Generator[EmbeddedItem]:
        """Yield the embedding of each of any number of images, as `predict_many` does predictions."""
        return self._many(partial(self._embed, options={"unit": unit, **options}), images, concurrency, progress)

    def preview(self, image: Image, resolution: int | None = None, **options: Unpack[RequestOptions]) -> bytes:
        """Return a PNG of what the network sees of an image, by default at the resolution of the default variant.

        `RequestOptions` lists what else can be said, such as `deadline_ms=500`.
        """
        return self._run(self._preview(content(image), {"resolution": resolution, **options}))

    def model_info(
        self, alpha: float | None = None, resolution: int | None = None, *, layers: bool = False
    ) -> ModelInfo:
        """Describe the served model, or another variant; with `layers`, layer by layer."""
        return self._run(self._model_info(alpha, resolution, layers))

    def labels(self) -> list[LabelItem]:
        """List the classes that the model knows."""
        return self._run(self._labels())

    def variants(self) -> Catalogue:
        """List the variants with the cost, the accuracy and the latency of each."""
        return self._run(self._variants())

    def _many(
        self, ask: Ask[R], images: Iterable[Image], concurrency: int, progress: Progress | None
    ) -> Generator[Item[R, Any]]:
        check_many(images, concurrency)
        groups = grouped(images, group_size(images, concurrency), bytes_about)
        found = in_order(partial(self._group, ask, []), groups, concurrency)
        return _counted(found, total(images), progress) if progress else found

    def _group(self, ask: Ask[R], gone: list[NoConnection], images: list[Image]) -> list[Item[R, Any]]:
        return self._run(self._each(images, [*map(content_or_error, images)], ask, gone))

    def _run(self, steps: Exchange[T]) -> T:
        try:
            pause_s, request = next(steps)
            while True:
                if LEFT.get().wait(pause_s):
                    raise Unreachable("given up, as nobody waits for the answer any more")
                pause_s, request = steps.send(self._attempt(request))
        except StopIteration as done:
            answer: T = done.value
            return answer

    def _attempt(self, request: httpx.Request) -> Attempt:
        connection = self._idle.get()
        try:
            return connection.send(request)
        except httpx.RequestError as exc:
            return exc
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Close all connections."""
        for connection in (self._http, *self._connections):
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _counted(items: Generator[T], count: int | None, progress: Progress) -> Generator[T]:
    with closing(items):
        for done, item in enumerate(items, 1):
            progress(done, count)
            yield item

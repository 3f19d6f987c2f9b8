"""Calls the service from asyncio."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
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
from app.client.client import EmbeddedItem, PredictedItem
from app.client.images import Image, bytes_about, content, content_or_error
from app.client.many import Item, Progress, group_size, grouped, in_order_async, total
from app.client.retry import Attempt, Exchange
from app.errors import NoConnection
from app.schemas import Catalogue, EmbedResponse, LabelItem, ModelInfo, PredictResponse

T = TypeVar("T")
R = TypeVar("R")


class AsyncClient(Calls):
    """Calls a service from asyncio. It has the arguments and calls of `Client`, and raises the same errors.

    Images that are not `bytes` already are read and encoded on other threads, so that the event loop goes on.
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
        self._http: httpx.AsyncClient = httpx.AsyncClient(**http_options(url, api_key, timeout_s, connections))
        self._patience_s = patience_s

    async def predict(self, *images: Image, **options: Unpack[PredictOptions]) -> PredictResponse:
        """Classify as `Client.predict` does."""
        return await self._run(self._predict(await _contents(images), options))

    async def predict_each(self, images: Iterable[Image], **options: Unpack[PredictOptions]) -> list[PredictedItem]:
        """Classify each image as `Client.predict_each` does."""
        check_many(images)
        return await self._group(partial(self._predict, options=options), [], [*images])

    def predict_many(
        self,
        images: Iterable[Image],
        *,
        concurrency: int = CONCURRENCY,
        progress: Progress | None = None,
        **options: Unpack[PredictOptions],
    ) -> AsyncGenerator[PredictedItem]:
        """Classify any number of images as `Client.predict_many` does, for `async for`."""
        return self._many(partial(self._predict, options=options), images, concurrency, progress)

    async def explain(
        self,
        image: Image,
        class_: int | str | None = None,
        *,
        size: Size = "input",
        **options: Unpack[VariantOptions],
    ) -> bytes:
        """Draw the evidence for a class as `Client.explain` does."""
        (file,) = await _contents([image])
        return await self._run(self._explain(file, class_, {"size": size, **options}))

    async def embed(self, *images: Image, unit: bool = False, **options: Unpack[VariantOptions]) -> EmbedResponse:
        """Return embeddings as `Client.embed` does."""
        return await self._run(self._embed(await _contents(images), {"unit": unit, **options}))

    async def embed_each(
        self, images: Iterable[Image], *, unit: bool = False, **options: Unpack[VariantOptions]
    ) -> list[EmbeddedItem]:
        """Return the embedding of each image as `Client.embed_each` does."""
        check_many(images)
        return await self._group(partial(self._embed, options={"unit": unit, **options}), [], [*images])

    def embed_many(
        self,
        images: Iterable[Image],
        *,
        unit: bool = False,
        concurrency: int = CONCURRENCY,
        progress: Progress | None = None,
        **options: Unpack[VariantOptions],
    ) -> AsyncGenerator[EmbeddedItem]:
        """Yield the embeddings of any number of images as `Client.embed_many` does, for `async for`."""
        return self._many(partial(self._embed, options={"unit": unit, **options}), images, concurrency, progress)

    async def preview(self, image: Image, resolution: int | None = None, **options: Unpack[RequestOptions]) -> bytes:
        """Show what the network sees of an image as `Client.preview` does."""
        (file,) = await _contents([image])
        return await self._run(self._preview(file, {"resolution": resolution, **options}))

    async def model_info(
        self, alpha: float | None = None, resolution: int | None = None, *, layers: bool = False
    ) -> ModelInfo:
        """Describe a variant as `Client.model_info` does."""
        return await self._run(self._model_info(alpha, resolution, layers))

    async def labels(self) -> list[LabelItem]:
        """List the classes that the model knows."""
        return await self._run(self._labels())

    async def variants(self) -> Catalogue:
        """List the variants with the cost, the accuracy and the latency of each."""
        return await self._run(self._variants())

    def _many(
        self, ask: Ask[R], images: Iterable[Image], concurrency: int, progress: Progress | None
    ) -> AsyncGenerator[Item[R, Any]]:
        check_many(images, concurrency)
        groups = grouped(images, group_size(images, concurrency), bytes_about)
        found = in_order_async(partial(self._group, ask, []), groups, concurrency)
        return _counted(found, total(images), progress) if progress else found

    async def _group(self, ask: Ask[R], gone: list[NoConnection], images: list[Image]) -> list[Item[R, Any]]:
        files = await asyncio.to_thread(lambda: [*map(content_or_error, images)])
        return await self._run(self._each(images, files, ask, gone))

    async def _run(self, steps: Exchange[T]) -> T:
        try:
            pause_s, request = next(steps)
            while True:
                await asyncio.sleep(pause_s)
                pause_s, request = steps.send(await self._attempt(request))
        except StopIteration as done:
            answer: T = done.value
            return answer

    async def _attempt(self, request: httpx.Request) -> Attempt:
        try:
            return await self._http.send(request)
        except httpx.RequestError as exc:
            return exc

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _contents(images: Sequence[Image]) -> list[bytes]:
    """Return the bytes to send for images, and leave the event loop to others while these are read."""
    ready = [image for image in images if isinstance(image, bytes)]
    return ready if len(ready) == len(images) else await asyncio.to_thread(lambda: [*map(content, images)])


async def _counted(items: AsyncGenerator[T], count: int | None, progress: Progress) -> AsyncGenerator[T]:
    async with aclosing(items):
        done = 0
        async for item in items:
            done += 1
            progress(done, count)
            yield item

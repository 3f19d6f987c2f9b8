"""Calls the service from Python: `Client` blocks until an answer comes, `AsyncClient` is the same for asyncio."""

import asyncio
import time
from collections.abc import Sequence
from queue import LifoQueue
from typing import Any, Final, Literal, Self, TypeVar

import httpx
from pydantic import TypeAdapter

from app.client.retry import Attempt, Exchange, Read, exchange
from app.network import client_options
from app.schemas import Catalogue, EmbedResponse, LabelItem, ModelInfo, PredictResponse
from app.version import __version__

URL: Final = "http://127.0.0.1:8000"
TIMEOUT_S: Final = 30.0
PATIENCE_S: Final = 10.0
CONNECTIONS: Final = 16
BYTES: Final = "application/octet-stream"

_KEEP_ALIVE_S: Final = 3.0  # the service closes idle connections after 5 s; a request sent just then would be lost
_PREDICTED: Final = TypeAdapter(PredictResponse).validate_json
_EMBEDDED: Final = TypeAdapter(EmbedResponse).validate_json
_INFO: Final = TypeAdapter(ModelInfo).validate_json
_LABELS: Final = TypeAdapter(list[LabelItem]).validate_json
_VARIANTS: Final = TypeAdapter(Catalogue).validate_json
_PNG: Final = b"\x89PNG\r\n\x1a\n"

T = TypeVar("T")
Size = Literal["input", "photo"]


class _Calls:
    """The calls that both clients have, as exchanges that no I/O has been done for yet."""

    _http: httpx.Client | httpx.AsyncClient
    _patience_s: float

    def _predict(self, images: Sequence[bytes], top_k: int | None, explain: bool) -> Exchange[PredictResponse]:
        params = _given(top_k=top_k, explain=explain or None)
        return self._ask(_PREDICTED, "POST", "predict", params=params, **_body(images))

    def _explain(
        self, image: bytes, name: int | str | None, size: Size, alpha: float | None, resolution: int | None
    ) -> Exchange[bytes]:
        params = _given(**{"class": name}, size=size, alpha=alpha, resolution=resolution)
        return self._ask(_png, "POST", "explain", params=params, **_body([image]))

    def _embed(
        self, images: Sequence[bytes], unit: bool, alpha: float | None, resolution: int | None
    ) -> Exchange[EmbedResponse]:
        params = _given(unit=unit or None, alpha=alpha, resolution=resolution)
        return self._ask(_EMBEDDED, "POST", "embed", params=params, **_body(images))

    def _model_info(self, alpha: float | None, resolution: int | None, layers: bool) -> Exchange[ModelInfo]:
        params = _given(alpha=alpha, resolution=resolution, layers=layers or None)
        return self._ask(_INFO, "GET", "model-info", params=params)

    def _labels(self) -> Exchange[list[LabelItem]]:
        return self._ask(_LABELS, "GET", "labels")

    def _variants(self) -> Exchange[Catalogue]:
        return self._ask(_VARIANTS, "GET", "variants")

    def _ask(self, read: Read[T], method: str, path: str, **content: Any) -> Exchange[T]:
        request = self._http.build_request(method, path, **content)
        request.read()  # joins the parts of multipart, which would otherwise be sent in a packet each
        return exchange(request, read, self._patience_s)


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _png(body: bytes) -> bytes:
    if not body.startswith(_PNG):
        raise ValueError("this is not a PNG")
    return body


def _body(images: Sequence[bytes]) -> dict[str, Any]:
    if not images:
        raise ValueError("there is no image to send")
    if len(images) == 1:
        return {"content": images[0], "headers": {"Content-Type": BYTES}}
    return {"files": [("image", (str(index), image, BYTES)) for index, image in enumerate(images)]}


def _options(url: str, api_key: str | None, timeout_s: float, connections: int) -> dict[str, Any]:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"{url} is not an address of a service: {exc}") from exc
    if address.scheme not in {"http", "https"} or not address.host:
        raise ValueError(f"{url} is not an address of a service: it needs http:// or https:// and a host")
    key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return {
        **client_options(address),
        "base_url": address,
        "headers": {"User-Agent": f"mobilenet/{__version__}"} | key,
        "timeout": httpx.Timeout(timeout_s, pool=None),  # waiting for a connection that another call uses is no timeout
        "limits": httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_KEEP_ALIVE_S
        ),
    }


class Client(_Calls):
    """Calls a service and blocks until it answers. Threads can share one client, and with it its connections.

    `url` is the address of the service and `api_key` one of its keys. `timeout_s` bounds each wait for the network, in
    seconds. A request that is refused (429, 502 or 503), or whose connection is lost, is sent again, not before
    `Retry-After` if the service says that, until the pauses add up to `patience_s` seconds. At most `connections`
    requests are under way at a time; further calls wait for their turn.

    Each call raises the `ServiceError` that the service answers with, `Unreachable`, or `UnexpectedAnswer`. The
    constructor raises `ValueError` if `url` is not an address.
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
        options = _options(url, api_key, timeout_s, 1)
        self._http: httpx.Client = httpx.Client(**options)
        self._patience_s = patience_s
        # One httpx client per connection, because a pool that threads share sometimes closes a connection that one of
        # them has just taken.
        self._connections = [httpx.Client(**options) for _ in range(connections)]
        self._idle: LifoQueue[httpx.Client] = LifoQueue()  # the one used last is the least likely to have been closed
        for connection in self._connections:
            self._idle.put(connection)

    def predict(self, *images: bytes, top_k: int | None = None, explain: bool = False) -> PredictResponse:
        """Classify one image file or several. Of several, each has its own result or its own error, in order.

        If a single image fails, its error is raised. `top_k` is how many classes to answer, from 1 to all; default 5.
        With `explain`, each prediction has the `evidence` of every place in the image.
        """
        return self._run(self._predict(images, top_k, explain))

    def explain(
        self,
        image: bytes,
        class_: int | str | None = None,
        *,
        size: Size = "input",
        alpha: float | None = None,
        resolution: int | None = None,
    ) -> bytes:
        """Return a PNG of an image with the evidence for a class over it: by default, for the most probable one.

        `class_` is the number, the label or the WordNet id of a class. The picture shows what the network sees, or with
        `size="photo"` all of the photo. `alpha` and `resolution` choose a loaded variant.
        """
        return self._run(self._explain(image, class_, size, alpha, resolution))

    def embed(
        self, *images: bytes, unit: bool = False, alpha: float | None = None, resolution: int | None = None
    ) -> EmbedResponse:
        """Return the embedding of one image file or several, each of length 1 with `unit`.

        Of several, each has its own result or its own error, in order. If a single image fails, its error is raised.
        """
        return self._run(self._embed(images, unit, alpha, resolution))

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

    def _run(self, steps: Exchange[T]) -> T:
        try:
            pause_s, request = next(steps)
            while True:
                if pause_s:  # even sleeping for 0 s would give the processor away
                    time.sleep(pause_s)
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


class AsyncClient(_Calls):
    """Calls a service from asyncio. It has the arguments and calls of `Client`, and raises the same errors."""

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        connections: int = CONNECTIONS,
    ) -> None:
        self._http: httpx.AsyncClient = httpx.AsyncClient(**_options(url, api_key, timeout_s, connections))
        self._patience_s = patience_s

    async def predict(self, *images: bytes, top_k: int | None = None, explain: bool = False) -> PredictResponse:
        """Classify as `Client.predict` does."""
        return await self._run(self._predict(images, top_k, explain))

    async def explain(
        self,
        image: bytes,
        class_: int | str | None = None,
        *,
        size: Size = "input",
        alpha: float | None = None,
        resolution: int | None = None,
    ) -> bytes:
        """Draw the evidence for a class as `Client.explain` does."""
        return await self._run(self._explain(image, class_, size, alpha, resolution))

    async def embed(
        self, *images: bytes, unit: bool = False, alpha: float | None = None, resolution: int | None = None
    ) -> EmbedResponse:
        """Return embeddings as `Client.embed` does."""
        return await self._run(self._embed(images, unit, alpha, resolution))

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

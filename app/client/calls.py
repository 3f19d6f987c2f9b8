"""The calls that both clients have: what they send, and how their answers are read. Nothing here does any I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypedDict, TypeVar

import httpx
from pydantic import TypeAdapter

from app.client.images import SIGNATURE, Image, is_one
from app.client.many import Item
from app.client.retry import Exchange, Read, error_of, exchange
from app.errors import BodyTooLarge, ClientError, NoConnection, ServiceError, Unreadable, without_password
from app.network import client_options
from app.schemas import Catalogue, EmbedResponse, Failure, LabelItem, ModelInfo, PredictResponse
from app.version import __version__

URL: Final = "http://127.0.0.1:8000"
TIMEOUT_S: Final = 30.0
PATIENCE_S: Final = 10.0
CONNECTIONS: Final = 16
CONCURRENCY: Final = 4
BYTES: Final = "application/octet-stream"

_KEEP_ALIVE_S: Final = 3.0  # the service closes idle connections after 5 s; a request sent just then would be lost
_HEADERS: Final = {"deadline_ms": "X-Request-Timeout-Ms", "request_id": "X-Request-ID"}
_PREDICTED: Final = TypeAdapter(PredictResponse).validate_json
_EMBEDDED: Final = TypeAdapter(EmbedResponse).validate_json
_INFO: Final = TypeAdapter(ModelInfo).validate_json
_LABELS: Final = TypeAdapter(list[LabelItem]).validate_json
_VARIANTS: Final = TypeAdapter(Catalogue).validate_json

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
Size = Literal["input", "photo"]


class RequestOptions(TypedDict, total=False):
    """What can be said with every request that has an image.

    After `deadline_ms` milliseconds the service gives up; more than its own limit (`MOBILENET_REQUEST_TIMEOUT_MS`) are
    refused. `request_id` names the request in the log of the service: 1 to 128 letters, digits and `._:-`.
    """

    deadline_ms: int | None
    request_id: str | None


class VariantOptions(RequestOptions, total=False):
    """Which loaded variant answers: its width multiplier and its resolution; by default, those of the default one."""

    alpha: float | None
    resolution: int | None


class PredictOptions(VariantOptions, total=False):
    """What a prediction can ask for. The service refuses what does not go together, and says why.

    - `top_k`: how many classes to answer, from 1 to all; default 5.
    - `explain`: whether each prediction has the `evidence` of every place in the image.
    - `alpha`, `resolution`: the loaded variant that answers.
    - `max_macs`, `max_latency_ms`, `min_accuracy`: a budget. The most accurate loaded variant answers that has at most
      so many multiply-accumulates, is expected to take at most so many milliseconds, and has at least this top-1
      accuracy, 0 to 1.
    - `degrade`: whether a smaller variant may answer if the queue is full ("allow"), or not ("never").
    - `variants`: several variants answer side by side: "all", or their names, such as "0.25/128,0.5/160".
    - `cascade`: these variants are asked in turn until one is sure, which it is from the probability `threshold` on.
    """

    top_k: int | None
    explain: bool
    max_macs: int | None
    max_latency_ms: float | None
    min_accuracy: float | None
    degrade: Literal["allow", "never"] | None
    variants: str | Sequence[str] | None
    cascade: str | Sequence[str] | None
    threshold: float | None


class _Answer(Protocol[R_co]):
    """An answer with a result, or an error, for each image."""

    @property
    def results(self) -> Sequence[R_co | Failure]: ...


Ask = Callable[[Sequence[bytes]], Exchange[_Answer[R_co]]]
"""Asks about images together."""


class Calls:
    """The calls as exchanges, which say what to send and are given what comes of it."""

    _http: httpx.Client | httpx.AsyncClient
    _patience_s: float

    def _predict(self, images: Sequence[bytes], options: Mapping[str, Any]) -> Exchange[PredictResponse]:
        return self._ask(_PREDICTED, "POST", "predict", images, options)

    def _explain(self, image: bytes, name: int | str | None, options: Mapping[str, Any]) -> Exchange[bytes]:
        return self._ask(_png, "POST", "explain", [image], {"class": name, **options})

    def _embed(self, images: Sequence[bytes], options: Mapping[str, Any]) -> Exchange[EmbedResponse]:
        return self._ask(_EMBEDDED, "POST", "embed", images, options)

    def _preview(self, image: bytes, options: Mapping[str, Any]) -> Exchange[bytes]:
        return self._ask(_png, "POST", "preview", [image], options)

    def _model_info(self, alpha: float | None, resolution: int | None, layers: bool) -> Exchange[ModelInfo]:
        options = {"alpha": alpha, "resolution": resolution, "layers": layers}
        return self._ask(_INFO, "GET", "model-info", None, options)

    def _labels(self) -> Exchange[list[LabelItem]]:
        return self._ask(_LABELS, "GET", "labels", None, {})

    def _variants(self) -> Exchange[Catalogue]:
        return self._ask(_VARIANTS, "GET", "variants", None, {})

    def _ask(
        self, read: Read[T], method: str, path: str, images: Sequence[bytes] | None, options: Mapping[str, Any]
    ) -> Exchange[T]:
        given = {name: value for name, value in options.items() if value is not None and value is not False}
        headers = {_HEADERS[name]: _header(name, str(given.pop(name))) for name in _HEADERS.keys() & given}
        params = {name: _text(value) for name, value in given.items()}
        body = {} if images is None else _body(images)
        headers |= {"Content-Type": BYTES} if "content" in body else {}
        request = self._http.build_request(method, path, params=params, headers=headers, **body)
        request.read()  # joins the parts of multipart, which would otherwise be sent in a packet each
        return exchange(request, read, self._patience_s)

    def _each(
        self,
        images: Sequence[Image],
        files: Sequence[bytes | Unreadable],
        ask: Ask[R_co],
        gone: list[NoConnection],
    ) -> Exchange[list[Item[R_co, Any]]]:
        """Ask about images together. Whatever goes wrong is the result of those that it concerns.

        `gone` gets the error once no connection can be made. From then on nothing is sent, as each request would wait
        for the service in vain.
        """
        found = iter((yield from self._apart([file for file in files if isinstance(file, bytes)], ask, gone)))
        pairs = [next(found) if isinstance(file, bytes) else (file, None) for file in files]
        return [Item(image, *pair) for image, pair in zip(images, pairs, strict=True)]

    def _apart(
        self,
        files: Sequence[bytes],
        ask: Ask[R_co],
        gone: list[NoConnection],
    ) -> Exchange[list[tuple[R_co | ServiceError | ClientError, Any]]]:
        """Ask about files, in halves if they are too much for one request."""
        if gone:
            return [(gone[0], None)] * len(files)
        if not files:
            return []
        try:
            answer = yield from ask(files)
        except (ServiceError, ClientError) as exc:
            if exc.status == BodyTooLarge.status and len(files) > 1:
                half = len(files) // 2
                first = yield from self._apart(files[:half], ask, gone)
                return [*first, *(yield from self._apart(files[half:], ask, gone))]
            if isinstance(exc, NoConnection):
                gone.append(exc)
            return [(exc, None)] * len(files)
        return [(error_of(one.error) if isinstance(one, Failure) else one, answer) for one in answer.results]


def _text(value: Any) -> str:
    """Return a value as the query has it: `true` and `false` in lower case, and commas between several values."""
    if isinstance(value, str):
        return value
    return ",".join(map(_text, value)) if isinstance(value, Iterable) else str(value).lower()


def _header(name: str, value: str) -> str:
    """Return the value of a header. Raises `ValueError`, which does not show the value, as that may be a key."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError(f"{name} must be printable ASCII without spaces")
    return value


def _png(body: bytes) -> bytes:
    if not body.startswith(SIGNATURE):
        raise ValueError("this is not a PNG")
    return body


def _body(images: Sequence[bytes]) -> dict[str, Any]:
    if not images:
        raise ValueError("there is no image to send")
    if len(images) == 1:
        return {"content": images[0]}
    return {"files": [("image", (str(index), image, BYTES)) for index, image in enumerate(images)]}


def check_many(images: Iterable[Image], concurrency: int = CONCURRENCY) -> None:
    """Raise `TypeError` for one image in place of many, whose letters, bytes, lines or rows would be taken for images.

    Raises `ValueError` if not even one request may be under way.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency {concurrency} is not 1 or more")
    if is_one(images):
        raise TypeError(
            f"many images must be an iterable of images, such as a list, not {type(images).__name__}: "
            "pass one image as [image]"
        )


def http_options(url: str, api_key: str | None, timeout_s: float, connections: int) -> dict[str, Any]:
    """Return the options of an httpx client for a service.

    Raises `ValueError` if `url` is not an address of one, if a header cannot hold the key, or if not even one
    connection is allowed.
    """
    if connections < 1:
        raise ValueError(f"connections {connections} is not 1 or more")
    shown = without_password(url) or "''"
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"{shown} is not an address of a service") from exc  # httpx may say a part of the password
    if address.scheme not in {"http", "https"} or not address.host:
        raise ValueError(f"{shown} is not an address of a service: it needs http:// or https:// and a host")
    return {
        **client_options(address),
        "base_url": address,
        "headers": {"User-Agent": f"mobilenet/{__version__}"} | _key(api_key, address),
        "timeout": httpx.Timeout(timeout_s, pool=None),  # waiting for a connection that another call uses is no timeout
        "limits": httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_KEEP_ALIVE_S
        ),
    }


def _key(api_key: str | None, address: httpx.URL) -> dict[str, str]:
    """Return the header with the key, which may come from a file with its line break."""
    key = _header("api_key", (api_key or "").strip())
    if not key:
        return {}
    if address.userinfo:  # httpx sends the user and the password as Authorization
        return {"X-API-Key": key}
    return {"Authorization": f"Bearer {key}"}

"""What a client sends: images as a raw body, in multipart or in JSON, each within its limits; or that it left."""

import asyncio
import re
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from app.api import problems
from app.api.multipart import images_in, too_many
from app.config import Settings
from app.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EmptyImage,
    InvalidParameter,
    MalformedRequest,
    ServiceError,
    Unavailable,
    UnsupportedMedia,
)
from app.imaging.formats import UNKNOWN
from app.prediction.result import Result
from app.runtime.pipeline import Payload
from app.schemas import PredictBody

WATCH_AFTER_S = 0.05
"""How long a request runs before its connection is watched for a client that leaves."""
HEAD_BYTES = 256
"""So many bytes of a body tell whether it looks like JSON or like a form."""
LIKE_JSON = re.compile(rb"(?:%b)?\s*[\[{]\s*\"" % BOM_UTF8)
LIKE_FORM = re.compile(rb"--[!-~]+\r?\nContent-", re.IGNORECASE)
JSON_REST = 1_000
"""Commas, or brackets, that a JSON body may have beside those that its images need, such as commas in strings."""
MULTIPART, JSON = "multipart/form-data", "application/json"
RAW_TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/x-octet-stream", "*/*")
"""Types of a body that is one image, beside `image/*`."""
FORMS = f"image/*, application/octet-stream, {MULTIPART} and {JSON}"
A_FORM = f"the body looks like a form; its header Content-Type must be {MULTIPART} with the boundary, as clients set it"
IN_BASE64 = "each image is one text in base64"

WHOLE = "mobilenet.whole"
"""An extension of ASGI: under this name a scope has a function that says whether all of the body has come already."""

T = TypeVar("T")


class Incoming(Protocol):
    """A request under way: its scope, its headers, names in lower case, and what receives its body, as Starlette's."""

    @property
    def scope(self) -> Scope:
        """What ASGI says of the request."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; of a name that is there twice the first counts."""
        ...

    @property
    def receive(self) -> Receive:
        """Returns the next ASGI message."""
        ...


async def read(
    request: Incoming, settings: Settings, deadline: float, parameters: Collection[str] = ()
) -> list[Payload]:
    """Read the images of a request, undecoded; `deadline` is a time of `time.monotonic`.

    The form is that of the content type; a body of any other type is taken for the bytes of one image, since many
    clients name a type that they did not choose. `parameters` are those of the route's query, which a form may not
    have. Raises what `read_any` and `parse` raise.
    """
    body = await read_any(request, settings, deadline)
    return parse(body, request.headers.get("content-type", ""), settings, parameters)


def parse(body: bytes, content_type: str, settings: Settings, parameters: Collection[str] = ()) -> list[Payload]:
    """Return the images of a whole body, undecoded: 1 to `max_images` of them.

    `content_type` is the header field. Raises `MalformedRequest`, `InvalidParameter`, `TooManyImages`, or
    `BodyTooLarge` for JSON of far too many values or lists.
    """
    kind = media_type(content_type)
    if kind == MULTIPART:
        return images_in(body, content_type, settings.max_images, parameters)
    if kind != JSON:
        return [body]
    images = _json(body, settings)
    if len(images) > settings.max_images:
        raise too_many(len(images), settings.max_images)
    return list(images)


async def read_raw(request: Incoming, settings: Settings, deadline: float) -> bytes:
    """Read the one image that is the whole body; raises as `read_any`, and `UnsupportedMedia` for the other forms."""
    kind = media_type(request.headers.get("content-type", ""))
    if kind in (MULTIPART, JSON):
        raise UnsupportedMedia(f"content type {kind} is none of image/* and application/octet-stream")
    return await read_any(request, settings, deadline)


async def read_any(request: Incoming, settings: Settings, deadline: float) -> bytes:
    """Read the body, whatever it is.

    Raises `BodyTooLarge` as soon as the limit is passed, `EmptyImage` for no bytes, `DeadlineExceeded` for a body that
    comes too slowly, or `ClientDisconnect`.
    """
    _check_encoding(request)
    _check_announced(request, settings)
    body = await _read(request, settings, deadline)
    if not body:
        raise EmptyImage("the body is empty; send the bytes of an image")
    return body


async def _read(request: Incoming, settings: Settings, deadline: float) -> bytes:
    whole: Callable[[], bool] | None = request.scope.get("extensions", {}).get(WHOLE)
    if whole is not None and whole():  # nearly always; then there is nothing to wait for, and no timer is needed
        return await _body(request, settings.max_body_bytes)
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await _body(request, settings.max_body_bytes)
    except TimeoutError:
        raise late(settings) from None


def late(settings: Settings) -> DeadlineExceeded:
    """Return the error of a body that comes too slowly."""
    return DeadlineExceeded(
        f"the body did not arrive within the time of the request, at most {settings.request_timeout_ms:,} ms"
    )


def _check_encoding(request: Incoming) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        detail = f"Content-Encoding {encoding[:80]} is not read; send the body without compression"
        raise UnsupportedMedia(detail, {"Accept-Encoding": "identity"})


def _check_announced(request: Incoming, settings: Settings) -> None:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:20]) > settings.max_body_bytes:
        raise _too_large(settings.max_body_bytes)


async def _body(request: Incoming, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size, more = size + len(chunks[-1]), message.get("more_body", False)
        if size > max_bytes:
            raise _too_large(max_bytes)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than {max_bytes:,} bytes, the most that is accepted")


def media_type(content_type: str) -> str:
    """Return what a header field `Content-Type` names, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def check_results(results: Sequence[Result], content_type: str, images: Sequence[Payload]) -> None:
    """Raise the error of the whole request: that of its only image, or that this process can classify none any more.

    In the second case its images, however many, should go to another process.
    """
    if broken := next((one for one in results if isinstance(one, Unavailable)), None):
        raise broken
    if len(results) == 1 and isinstance(results[0], ServiceError):
        raise _explained(results[0], content_type, images[0])


def _explained(error: ServiceError, content_type: str, image: Payload) -> ServiceError:
    """Return the error of a request with one image; if another content type may help, one that says so.

    That is only where the bytes are neither in a format that is read nor in one that is recognised.
    """
    kind = media_type(content_type)
    if error.detail != UNKNOWN or kind in (MULTIPART, JSON):
        return error
    head = image[:HEAD_BYTES] if isinstance(image, bytes) else b""
    if LIKE_JSON.match(head):
        return UnsupportedMedia(f"the body looks like JSON; send it with the header Content-Type: {JSON}")
    if LIKE_FORM.match(head):
        return UnsupportedMedia(A_FORM)
    if kind in RAW_TYPES or kind.startswith("image/"):
        return error
    return UnsupportedMedia(f"{error.detail}; content type {kind[:80]} is none of {FORMS}")


def check_values(text: bytes, most: int, most_nested: int) -> None:
    """Raise `BodyTooLarge` for JSON with many more than `most` values, or than `most_nested` lists and objects.

    Parsed, each takes many times its size, and if it is wrong a thousand times that; meanwhile nobody else is served.
    Commas do not tell the number of lists, since one within another needs none.
    """
    if text.count(b",") > most + JSON_REST:
        raise BodyTooLarge(f"the JSON has many more than {most:,} values, the most that a request needs")
    if text.count(b"[") + text.count(b"{") > most_nested + JSON_REST:
        raise BodyTooLarge(
            f"the JSON has many more than {most_nested:,} lists and objects, the most that a request needs"
        )


def _json(body: bytes, settings: Settings) -> list[str]:
    try:
        check_values(body, 2 * settings.max_images, 2)  # a data URL has a comma of its own
    except BodyTooLarge as exc:  # often of the pixels of an image, or of its bytes as numbers
        raise BodyTooLarge(f"{exc.detail}; {IN_BASE64}") from exc
    try:
        return PredictBody.model_validate_json(body.removeprefix(BOM_UTF8)).images
    except ValidationError as exc:
        raise _of_json(exc, body) from exc


def _of_json(exc: ValidationError, body: bytes) -> ServiceError:
    if LIKE_FORM.match(body[:HEAD_BYTES]):
        return MalformedRequest(A_FORM)
    first = exc.errors()[0]
    error = problems.invalid(first)
    return InvalidParameter(f"{error.detail}; {IN_BASE64}") if first["type"] == "string_type" else error


async def unless_departed(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await the work, and cancel it when the client disconnects: nobody would read its result.

    The body must have been read. Raises `ClientDisconnect`, or whatever the work raises.
    """
    loop = asyncio.get_running_loop()
    watch = _Watch(receive, asyncio.current_task(loop))
    # A task for each request would cost as much as the answer, and most have theirs before a client can lose patience.
    timer = loop.call_later(WATCH_AFTER_S, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.departed:
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        watch.end()


class _Watch:
    """Waits for the client of a request to leave, and then cancels the task that works for it."""

    departed = False

    def __init__(self, receive: Receive, working: "asyncio.Task[Any] | None") -> None:
        self._receive = receive
        self._working = working
        self._waiting: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._waiting = asyncio.get_running_loop().create_task(self._departure())

    async def _departure(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._working is not None:
            self.departed = True
            self._working.cancel()

    def end(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        if self.departed and self._working is not None:
            self._working.uncancel()

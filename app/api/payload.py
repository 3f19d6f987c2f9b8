"""What a client sends: images as a raw body, in multipart or in JSON, each within its limits; or that it left."""

import asyncio
import time
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from app.api import problems
from app.api.multipart import images_in, too_many
from app.config import Settings
from app.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EmptyImage,
    ServiceError,
    UnsupportedImage,
    UnsupportedMedia,
)
from app.runtime.pipeline import Payload
from app.schemas import PredictBody

JSON_REST = 1_000
"""Commas that JSON may have beside those between the values that are wanted."""
MULTIPART, JSON = "multipart/form-data", "application/json"
RAW_TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/x-octet-stream", "*/*")
"""Types of a body that is one image, beside `image/*`."""
FORMS = f"image/*, application/octet-stream, {MULTIPART} and {JSON}"

T = TypeVar("T")


async def read(request: Request, settings: Settings, deadline: float) -> list[Payload]:
    """Read the images of a request, undecoded; `deadline` is a time of `time.monotonic`.

    The form is that of the content type; a body of any other type is taken for the bytes of one image, since many
    clients name a type that they did not choose. Raises what `read_any` and `parse` raise.
    """
    return parse(await read_any(request, settings, deadline), request.headers.get("content-type", ""), settings)


def parse(body: bytes, content_type: str, settings: Settings) -> list[Payload]:
    """Return the images of a whole body, undecoded: 1 to `max_images` of them.

    `content_type` is the header field. Raises `MalformedRequest`, `InvalidParameter`, `TooManyImages`, or
    `BodyTooLarge` for JSON of far too many values.
    """
    kind = media_type(content_type)
    if kind == MULTIPART:
        return images_in(body, content_type, settings.max_images)
    if kind != JSON:
        return [body]
    images = _json(body, settings)
    if len(images) > settings.max_images:
        raise too_many(len(images), settings.max_images)
    return list(images)


async def read_raw(request: Request, settings: Settings, deadline: float) -> bytes:
    """Read the one image that is the whole body; raises as `read_any`, and `UnsupportedMedia` for the other forms."""
    kind = media_type(request.headers.get("content-type", ""))
    if kind in (MULTIPART, JSON):
        raise UnsupportedMedia(f"content type {kind} is none of image/* and application/octet-stream")
    return await read_any(request, settings, deadline)


async def read_any(request: Request, settings: Settings, deadline: float) -> bytes:
    """Read the body, whatever it is.

    Raises `BodyTooLarge` as soon as the limit is passed, `EmptyImage` for no bytes, `DeadlineExceeded` for a body that
    comes too slowly, or `ClientDisconnect`.
    """
    _check_encoding(request)
    _check_announced(request, settings)
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            body = await _body(request, settings.max_body_bytes)
    except TimeoutError:
        raise DeadlineExceeded(
            f"the body did not arrive within the time of the request, at most {settings.request_timeout_ms:,} ms"
        ) from None
    if not body:
        raise EmptyImage("the body is empty; send the bytes of an image")
    return body


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        detail = f"Content-Encoding {encoding[:80]} is not read; send the body without compression"
        raise UnsupportedMedia(detail, {"Accept-Encoding": "identity"})


def _check_announced(request: Request, settings: Settings) -> None:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > settings.max_body_bytes:
        raise _too_large(settings.max_body_bytes)


async def _body(request: Request, max_bytes: int) -> bytes:
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


@lru_cache(maxsize=256)  # every request has one, of few kinds
def media_type(content_type: str) -> str:
    """Return what a header field `Content-Type` names, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def explained(error: ServiceError, content_type: str) -> ServiceError:
    """Return the error of a body that is not an image; if its type names nothing that we read, one that says so."""
    kind = media_type(content_type)
    known = kind in (MULTIPART, JSON, *RAW_TYPES) or kind.startswith("image/")
    if isinstance(error, UnsupportedImage) and not known:
        return UnsupportedMedia(f"{error.detail}; content type {kind[:80]} is none of {FORMS}")
    return error


def check_values(text: bytes, most: int) -> None:
    """Raise `BodyTooLarge` for JSON with many more than `most` values.

    Parsed, each takes many times its size, and if it is wrong a thousand times that; meanwhile nobody else is served.
    """
    if text.count(b",") > most + JSON_REST:
        raise BodyTooLarge(f"the JSON has many more than {most:,} values, the most that a request needs")


def _json(body: bytes, settings: Settings) -> list[str]:
    check_values(body, 2 * settings.max_images)  # a data URL has a comma of its own
    try:
        return PredictBody.model_validate_json(body).images
    except ValidationError as exc:
        raise problems.invalid(exc.errors()[0]) from exc


async def unless_departed(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await the work, and cancel it when the client disconnects: nobody would read its result.

    The body must have been read. Raises `ClientDisconnect`, or whatever the work raises.
    """
    task = asyncio.current_task()
    departed = False

    def leave(watch: asyncio.Task[None]) -> None:
        nonlocal departed
        departed = not watch.cancelled()
        if departed and task is not None:
            task.cancel()

    watch = asyncio.get_running_loop().create_task(_departure(receive))
    watch.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if departed and task is not None:
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        watch.remove_done_callback(leave)
        watch.cancel()


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

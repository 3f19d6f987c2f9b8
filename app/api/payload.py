"""What a client sends: images as a raw body, in multipart or in JSON, each within its limits; or that it left."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from app.api import problems
from app.config import Settings
from app.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EmptyImage,
    MalformedRequest,
    TooManyImages,
    UnsupportedMedia,
)
from app.runtime.pipeline import Payload
from app.schemas import PredictBody

FIELD = "image"
MAX_TEXT_FIELDS = 16
JSON_REST = 1_000
"""Commas that JSON may have beside those between the values that are wanted."""
RAW_TYPES = ("", "application/octet-stream")
MULTIPART, JSON = "multipart/form-data", "application/json"

T = TypeVar("T")


class InMemoryParser(MultiPartParser):
    """Starlette's parser, with uploads kept in memory: the body is bounded, and the file system may be read-only."""

    spool_max_size = 0  # of `SpooledTemporaryFile`: never roll over to a file


async def read(request: Request, settings: Settings, deadline: float) -> list[Payload]:
    """Read the images of a request, undecoded; `deadline` is of `time.monotonic`.

    Raises `UnsupportedMedia` for another content type, before the body is read, and what `read_any` and `parse` do.
    """
    content_type = request.headers.get("content-type", "")
    if not is_known(media_type(content_type)):
        raise UnsupportedMedia(
            f"content type {media_type(content_type)} is none of image/*, application/octet-stream, {MULTIPART} and "
            f"{JSON}"
        )
    return await parse(await read_any(request, settings, deadline), content_type, settings)


async def parse(body: bytes, content_type: str, settings: Settings) -> list[Payload]:
    """Return the images of a whole body, undecoded: 1 to `max_images` of them.

    `content_type` is the header field, of which `is_known` holds. Raises `MalformedRequest`, `InvalidParameter`,
    `TooManyImages`, or `BodyTooLarge` for JSON of far too many values.
    """
    kind = media_type(content_type)
    if kind == MULTIPART:
        return await _multipart(body, content_type, settings)
    if kind != JSON:
        return [body]
    images = _json(body, settings)
    if len(images) > settings.max_images:
        raise too_many(len(images), settings.max_images)
    return list(images)


async def read_raw(request: Request, settings: Settings, deadline: float) -> bytes:
    """Read the one image that is the whole body; raises as `read` does, and `UnsupportedMedia` for the other forms."""
    content_type = _content_type(request)
    if not is_raw(content_type):
        raise UnsupportedMedia(f"content type {content_type} is none of image/* and application/octet-stream")
    return await read_any(request, settings, deadline)


async def read_any(request: Request, settings: Settings, deadline: float) -> bytes:
    """Read the body, whatever it is.

    Raises `BodyTooLarge` as soon as the limit is passed, `EmptyImage` for no bytes, `DeadlineExceeded` for a body that
    comes too slowly, or `ClientDisconnect`.
    """
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


def _content_type(request: Request) -> str:
    return media_type(request.headers.get("content-type", ""))


@lru_cache(maxsize=256)  # every request has one, of few kinds
def media_type(content_type: str) -> str:
    """Return what a header field `Content-Type` names, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_known(content_type: str) -> bool:
    """Whether a body of this media type is one of the three forms."""
    return content_type in (MULTIPART, JSON) or is_raw(content_type)


def is_raw(content_type: str) -> bool:
    """Whether a body of this media type is one image."""
    return content_type in RAW_TYPES or content_type.startswith("image/")


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


async def _multipart(body: bytes, content_type: str, settings: Settings) -> list[Payload]:
    headers = Headers({"content-type": content_type})
    parser = InMemoryParser(headers, _once(body), max_files=settings.max_images, max_fields=MAX_TEXT_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as exc:
        if exc.message.startswith("Too many files"):
            raise too_many(settings.max_images + 1, settings.max_images) from exc
        raise MalformedRequest(f"the multipart body is malformed: {exc.message}") from exc
    try:
        files = [file for file in form.getlist(FIELD) if isinstance(file, UploadFile)]
        if not files:
            sent = ", ".join(form) or "no field"
            raise MalformedRequest(f"the multipart body needs one or more files in the field {FIELD}; it has {sent}")
        return [await file.read() for file in files]
    finally:
        await form.close()


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def too_many(count: int, most: int) -> TooManyImages:
    """Return the error of a request with more images than `most`."""
    return TooManyImages(f"the request has {count} images or more, and {most} is the most")


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

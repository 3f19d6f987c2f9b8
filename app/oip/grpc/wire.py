"""A look at the bytes of a request before they are parsed, by the rules of the protocol buffers' encoding.

An empty tensor is two bytes, and the object that it is parsed to about eighty: 20 MB of them would take 800 MB, and 4 s
in which nobody else is served. So a message with far more fields than an image needs is refused unparsed.
"""

from collections.abc import Iterator
from typing import Final

from app.errors import BodyTooLarge, MalformedRequest

MOST_FIELDS = 1_000
"""Fields that a request may have beside one for each image."""
SHORT: Final = 65_536
"""Longest field in bytes, but for those that hold images."""
ANY: Final = None
"""No limit of its own, for what is parsed to as many bytes."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTH = {FIXED64: 8, FIXED32: 4}
PIXEL_BYTES = 2
"""Most bytes that a pixel takes, a number up to 255."""

Tree = dict[int, "Tree | int | None"]
"""What is in the fields of a message, by number: another message, or bytes and how many of them there may be."""


def check(body: bytes, most_images: int, most_values: int) -> None:
    """Raise `BodyTooLarge` for a `ModelInferRequest` that would take many times its size once it is parsed.

    `most_values` is the number of values that the images of a request may have. Raises `MalformedRequest` for what is
    not in the encoding.
    """
    contents: Tree = {4: PIXEL_BYTES * most_values, 8: ANY}
    request: Tree = {4: {2: {}}, 5: {4: {2: {}}, 5: contents}, 6: {2: {2: {}}}, 7: ANY}
    most = MOST_FIELDS + most_images
    for count, (size, limit) in enumerate(_fields(memoryview(body), request)):
        if count >= most:
            raise BodyTooLarge(f"the request has more than {most:,} fields, many more than its images need")
        if limit is not None and size > limit:
            raise BodyTooLarge(f"a field of the request has {size:,} bytes, and may have {limit:,}")


def _fields(message: memoryview, tree: Tree) -> Iterator[tuple[int, int | None]]:
    """Yield the size of each field, of inner messages too, and its limit."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        start, at = _content(message, at, tag & 7)
        inner = tree.get(tag >> 3, SHORT) if tag & 7 == BYTES else SHORT
        if isinstance(inner, dict):
            yield 0, ANY
            yield from _fields(message[start:at], inner)
        else:
            yield at - start, inner


def _content(message: memoryview, at: int, kind: int) -> tuple[int, int]:
    """Return where the content of a field begins and where it ends."""
    start = at
    if kind == VARINT:
        _, at = _varint(message, at)
    elif kind == BYTES:
        size, start = _varint(message, at)
        at = start + size
    elif kind in WIDTH:
        at += WIDTH[kind]
    else:
        raise _malformed()
    if at > len(message):
        raise _malformed()
    return start, at


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and where the next begins."""
    number = 0
    for shift, byte in enumerate(message[at : at + 10]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number, at + shift + 1
    raise _malformed()


def _malformed() -> MalformedRequest:
    return MalformedRequest("the message is not in the encoding of protocol buffers, or is truncated")

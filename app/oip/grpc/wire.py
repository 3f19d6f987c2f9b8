"""A look at the bytes of a request before they are parsed, by the rules of the protocol buffers' encoding.

An empty tensor is two bytes, and the object that it is parsed to about eighty: 20 MB of them would take 800 MB, and 4 s
in which nobody else is served. So a request may have few bytes beside those of its images, which are not parsed.
"""

import sys

from app.errors import BodyTooLarge, MalformedRequest, ServiceError

BESIDE_BYTES = 16_384
"""Most bytes that a request may have beside those of its images, and a few for each of these."""
IMAGE_HEAD_BYTES = 8
"""Room for what comes before each image: its number and its length."""
PIXEL_BYTES = 2
"""Most bytes that a pixel takes as a number."""
OTHERS = (1, 2, 3, 5, 6, 7)
"""Fields of the contents of a tensor, for values of other types than those of the inputs."""
ELSEWHERE = (
    "the data of pixels must be in uint_contents or in raw_input_contents, "
    "and those of image in bytes_contents or in raw_input_contents"
)
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTH = {FIXED64: 8, FIXED32: 4}


class Images:
    """Counts the bytes of fields with images: one may be there several times, which parsing joins to one."""

    def __init__(self, most: int, error: ServiceError) -> None:
        self._left = most
        self._error = error

    def add(self, size: int) -> None:
        """Count so many bytes more. Raises the error if they are more than `most` together."""
        self._left -= size
        if self._left < 0:
            raise self._error


Tree = dict[int, "Tree | Images"]
"""The fields whose bytes are counted apart, by number: messages that have such fields, or the images themselves."""


def check(body: bytes, most_images: int, most_values: int) -> None:
    """Raise `BodyTooLarge` for a `ModelInferRequest` that would take many times its size once it is parsed.

    `most_values` is the number of values that the images of a request may have. Raises `MalformedRequest` for what is
    not in the encoding, or for images in a field that is not for them.
    """
    most = BESIDE_BYTES + IMAGE_HEAD_BYTES * most_images
    if len(body) > most:
        _beside(memoryview(body), _images(most, PIXEL_BYTES * most_values), most)


def _images(most_elsewhere: int, most_pixels: int) -> Tree:
    """Return the fields that are counted apart: those for images, and those for other values, which must be short."""
    too_large = BodyTooLarge(f"the pixels of the request take more than {most_pixels:,} bytes, the most that they may")
    pixels, any_bytes = Images(most_pixels, too_large), Images(sys.maxsize, too_large)
    elsewhere = Images(most_elsewhere, MalformedRequest(ELSEWHERE))
    return {5: {5: {**dict.fromkeys(OTHERS, elsewhere), 4: pixels, 8: any_bytes}}, 7: any_bytes}


def _beside(message: memoryview, tree: Tree, most: int) -> int:
    """Return how many bytes of a message are not of images. Raises `BodyTooLarge` if there are more than `most`."""
    at = total = 0
    while at < len(message):
        began = at
        tag, at = _varint(message, at)
        start, at = _content(message, at, tag & 7)
        found = tree.get(tag >> 3) if tag & 7 == BYTES else None
        total += start - began + _size(message[start:at], found, most)
        if total > most:
            raise BodyTooLarge(f"the request has more than {most:,} bytes beside those of its images")
    return total


def _size(content: memoryview, found: "Tree | Images | None", most: int) -> int:
    """Return how many bytes of a field are not of images."""
    if isinstance(found, Images):
        found.add(len(content))
        return 0
    if found is None or len(content) <= most:  # one that is short needs no look
        return len(content)
    return _beside(content, found, most)


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

"""Multipart bodies (RFC 7578): the parts of the field `image`, with or without the name of a file."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError, ParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import InvalidParameter, MalformedRequest, TooManyImages
from app.imaging.formats import is_image
from app.runtime.pipeline import Payload
from app.validation import COMPARED

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "image"
MAX_OTHER_PARTS = 16
MAX_SEMICOLONS = 256
"""In a header. Three are usual, but the name of a file may have many: browsers write some letters as `&#1060;`."""


def images_in(body: bytes, content_type: str, max_images: int, parameters: Collection[str] = ()) -> list[Payload]:
    """Return the images of a whole multipart body, undecoded and in order: bytes, or text if a part is in base64.

    `content_type` is the header field, which has the boundary. Raises `TooManyImages`, `MalformedRequest` for a body
    that is not multipart, has no image, or has one in another field, and `InvalidParameter` for a field with the name
    of one of the query's `parameters`.
    """
    if not (boundary := _parameters(content_type, "Content-Type").get(b"boundary")):
        raise MalformedRequest("the multipart body is malformed: Content-Type has no boundary")
    parts = _Parts(max_images, parameters)
    body = body[_start(body, boundary) :]
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise MalformedRequest(f"the multipart body is malformed: {_fault(exc, body)}") from exc
    if not parts.ended:
        raise MalformedRequest("the multipart body is malformed: it ends before its last boundary")
    if not parts.images:
        sent = ", ".join(parts.others) or "no field"
        raise MalformedRequest(f"the multipart body needs one or more images in the field {FIELD}; it has {sent}")
    if parts.astray:
        raise MalformedRequest(
            f"the multipart body has an image in the field {parts.astray}; every image belongs in a field {FIELD}"
        )
    return parts.images


def _parameters(header: str, name: str) -> dict[bytes, bytes]:
    """Return the parameters of a header. Its parser takes a time that grows with the square of the semicolons."""
    if (semicolons := header.count(";")) > MAX_SEMICOLONS:
        raise MalformedRequest(
            f"the multipart body is malformed: {name} has {semicolons} semicolons, and {MAX_SEMICOLONS} is the most"
        )
    return parse_options_header(header)[1]


def _start(body: bytes, boundary: bytes) -> int:
    """Return where the first boundary is. What comes before it means nothing (RFC 2046, section 5.1.1)."""
    line = b"--" + boundary
    if body.startswith(line):
        return 0
    if start := body.find(b"\n" + line) + 1:
        return start
    named = line[:COMPARED].decode("latin-1")
    raise MalformedRequest(
        f"the multipart body is malformed: no line begins with {named}, the boundary that Content-Type names"
    )


def _fault(error: FormParserError, body: bytes) -> str:
    if isinstance(error, ParseError) and body[error.offset - 2 : error.offset + 1] in (b"\r\n ", b"\r\n\t"):
        return "a header of a part takes several lines; write it in one"
    if "at end of boundary" in str(error):
        return "a boundary is not followed by CR and LF, which end every line but those of the images"
    return str(error)


def too_many(count: int, most: int) -> TooManyImages:
    """Return the error of a request with more images than `most`."""
    return TooManyImages(f"the request has {count} images or more, and {most} is the most")


class _Parts:
    """What a parser has found so far; it calls the methods as it goes through the body."""

    astray = ""
    """The name of another field that has an image, which would be lost without a word."""

    def __init__(self, max_images: int, parameters: Collection[str]) -> None:
        self.images: list[Payload] = []
        self.others: list[str] = []
        self.ended = False
        self._max_images = max_images
        self._parameters = parameters

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._admit,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._data: list[bytes] = []
        self._name, self._value = bytearray(), bytearray()

    def _end_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name, self._value = bytearray(), bytearray()

    def _admit(self) -> None:
        """Refuse a part that is one too many before its data is kept."""
        disposition = self._headers.get("content-disposition", "")
        options = _parameters(disposition, "the Content-Disposition of a part")
        if b"name" not in options:
            raise MalformedRequest("the multipart body is malformed: a part has no name in its Content-Disposition")
        self._field = options[b"name"].decode(errors="replace")
        if self._field == FIELD and len(self.images) == self._max_images:
            raise too_many(self._max_images + 1, self._max_images)
        if self._field != FIELD and len(self.others) == MAX_OTHER_PARTS:
            raise MalformedRequest(f"the multipart body has more than {MAX_OTHER_PARTS} parts that are not {FIELD}")
        if self._field in self._parameters:
            name = self._field
            raise InvalidParameter(f"{name} is a parameter of the query, as in ?{name}=…, and no field of the form")

    def _end(self) -> None:
        content = b"".join(self._data)
        if self._field != FIELD:
            self.others.append(self._field[:80])
            if is_image(content):
                self.astray = self.others[-1]
            return
        in_base64 = self._headers.get("content-transfer-encoding", "").strip().lower() == "base64"
        self.images.append(content.decode("latin-1") if in_base64 else content)

    def _finish(self) -> None:
        self.ended = True

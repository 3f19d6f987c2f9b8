"""An answer as the bytes that go on the wire, for what is answered without the application."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from app.api.security import HEADERS

Field = tuple[bytes, bytes]
Fields = list[Field]
"""The header fields of a request, names in lower case."""

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name.lower()}: {value}\r\n" for name, value in headers.items()])


_HEADERS = _lines(HEADERS)


def reply(
    status: int, media_type: str, body: bytes, headers: Mapping[str, str], own: Iterable[Field] = (), *, close: bool
) -> bytes:
    """Return a whole HTTP/1.1 answer, with the headers that every answer has.

    `own` are the fields that the server puts on every answer; with `close` it says that the connection ends.
    """
    server = b"".join([b"%b: %b\r\n" % field for field in own])
    ours = f"{_HEADERS}{_lines(headers)}content-type: {media_type}\r\ncontent-length: {len(body)}\r\n"
    end = "connection: close\r\n\r\n" if close else "\r\n"
    return b"%b%b%b%b" % (_STATUS[status].encode(), server, (ours + end).encode("latin-1"), body)

"""The head of a request: its target and its headers, as the parser hands them over."""

from typing import Any, Final
from urllib.parse import unquote

import httptools
from starlette.types import Scope

from app.errors import MalformedRequest
from app.server.exchange import HTTP_1_1, Fields

ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
HEADERS_BYTES = 64 * 1024
"""Most bytes of a head, or of chunk framing and trailers between two parts of a body."""
FIELD_BYTES = 4
"""What a header takes beside its name and its value: a colon, a blank and the end of its line."""


class Head:
    """Takes the heads of the requests of a connection, one after the other, from the parser."""

    is_open = True
    """Whether a head is expected or under way, and not a body."""

    def on_message_begin(self) -> None:
        """Expect the parts of a head."""
        self._target = b""
        self.headers: Fields = []
        self._bytes = self._hosts = 0
        self.expects_continue = False

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url
        self._bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer of a body is none, and nobody asks for one. Raises `MalformedRequest`."""
        if not self.is_open:
            return
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expects_continue = True
        self.headers.append((name, value))
        self._bytes += len(name) + len(value) + FIELD_BYTES
        if self._bytes > HEADERS_BYTES:
            raise too_large()

    def end(self, method: bytes, version: str, state: dict[str, Any], addresses: dict[str, Any]) -> Scope:
        """Return the scope of the request (ASGI), with a state and the addresses of both ends.

        Raises `MalformedRequest` if the head is too large or does not name one host (RFC 9112, 3.2).
        """
        if self._bytes > HEADERS_BYTES:  # of a target without headers
            raise too_large()
        if self._hosts != 1 and (self._hosts or version >= HTTP_1_1):
            raise MalformedRequest(f"A request must have exactly one Host header, and this one has {self._hosts}.")
        target = httptools.parse_url(self._target)
        path = target.path.decode("ascii")
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "method": method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": target.path,
            "query_string": target.query or b"",
            "root_path": "",
            "headers": self.headers,
            "state": state.copy(),
            **addresses,
        }


def too_large() -> MalformedRequest:
    """Return the error of a head that has more than `HEADERS_BYTES`."""
    return MalformedRequest(f"The headers have more than {HEADERS_BYTES:,} bytes.")

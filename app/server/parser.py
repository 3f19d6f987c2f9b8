"""The parser of HTTP/1.1 requests, which stays with HTTP/1.1 whatever a client offers to upgrade to."""

from types import SimpleNamespace
from typing import Any

import httptools

BODY_FIELDS = (b"content-length", b"transfer-encoding")
FOREIGN = {
    b"\x16\x03": "this is TLS, and the port speaks plain HTTP: ask it with http:// or through a proxy that ends TLS",
    b"PRI * HTTP/2": "this is HTTP/2, and the port speaks HTTP/1.1; gRPC has a port of its own",
    b"PROXY ": "this is the PROXY protocol, and the port expects a request",
    b"\r\n\r\n\0\r\nQUIT\n": "this is the PROXY protocol, and the port expects a request",
}
"""What other protocols begin with, and what is then wrong."""


class Parser:
    """httptools' parser, but an offer to upgrade is ignored, and the request is answered (RFC 9110, 7.8).

    Java's default client offers HTTP/2 with every first request. httptools ends a request with such an offer at its
    headers; here another of its parsers, which is told the framing of the body alone, goes on from there.
    """

    def __init__(self, head: Any, protocol: Any) -> None:
        """`head` is told of the parts of a head, and `protocol` of all else."""
        self._head = head
        self._protocol = protocol
        # Called without a detour until there is an offer: a request calls these a dozen times.
        direct = SimpleNamespace(
            on_message_begin=head.on_message_begin,
            on_url=head.on_url,
            on_header=head.on_header,
            on_headers_complete=protocol.on_headers_complete,
            on_body=protocol.on_body,
            on_message_complete=self.on_message_complete,
        )
        self._parser = _parser(direct)
        self._in_made_up_head = False

    def feed_data(self, data: bytes) -> None:
        """Parse what came. Raises `httptools.HttpParserError` for what is not HTTP."""
        rest: bytes | memoryview = data
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = memoryview(rest)[offer.args[0] :]
                self._go_on_with_body()
            else:
                return

    def end(self) -> None:
        """Let go of the protocol, or the two would hold one another until garbage is collected."""
        del self._parser, self._protocol

    def _go_on_with_body(self) -> None:
        framing = [b"%b: %b\r\n" % field for field in self._head.headers if field[0] in BODY_FIELDS]
        self._parser = _parser(self)
        self._in_made_up_head = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))

    def should_upgrade(self) -> bool:
        """Return False: no offer is taken."""
        return False

    def should_keep_alive(self) -> bool:
        """Whether the connection stays open after this request."""
        return bool(self._parser.should_keep_alive())

    def get_method(self) -> bytes:
        """Return the method of the request."""
        return bytes(self._parser.get_method())

    def get_http_version(self) -> str:
        """Return the version of the request, such as `1.1`."""
        return str(self._parser.get_http_version())

    def on_message_begin(self) -> None:
        """Begin a request, unless it is the rest of one."""
        if not self._in_made_up_head:
            self._head.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Pass a part of the target on."""
        if not self._in_made_up_head:
            self._head.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Pass a header on."""
        if not self._in_made_up_head:
            self._head.on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the request begin, unless it has begun already."""
        if self._in_made_up_head:
            self._in_made_up_head = False
        else:
            self._protocol.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless httptools ended it at its headers because of an offer to upgrade."""
        if not self._parser.should_upgrade():
            self._protocol.on_message_complete()


def _parser(protocol: Any) -> httptools.HttpRequestParser:
    """Return a parser that ignores what comes behind a request which ends the connection, so that it is answered."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def what_is_wrong(error: httptools.HttpParserError, begins: bytes) -> str:
    """Return what is wrong with bytes that are not HTTP, for a person who may have taken the wrong port or protocol.

    `begins` is what came in place of a request, from its beginning.
    """
    foreign = next((what for start, what in FOREIGN.items() if begins.startswith(start)), None)
    return foreign or f"this is not valid HTTP: {error}"

"""An offer to upgrade costs a request nothing: its body is read, and so are the requests behind it."""

from typing import Any

import httptools
import pytest

from app.server.parser import Parser

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
WEBSOCKET = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
FRAMINGS = {
    "length": (b"Content-Length: 5\r\n", b"photo", b"photo"),
    "chunks": (b"Transfer-Encoding: chunked\r\n", b"2\r\nph\r\n3\r\noto\r\n0\r\n\r\n", b"photo"),
    "nothing": (b"", b"", b""),
    "empty": (b"Content-Length: 0\r\n", b"", b""),
}


class Heard:
    """A protocol that remembers its requests: method, target, body and whether it was complete."""

    def __init__(self) -> None:
        self.requests: list[list[Any]] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.parser = Parser(self, self)

    def on_message_begin(self) -> None:
        self.headers = []
        self.requests.append([b"", b"", b"", False])

    def on_url(self, url: bytes) -> None:
        self.requests[-1][1] += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.requests[-1][0] = self.parser.get_method()
        assert self.parser.get_http_version() == "1.1"
        assert self.parser.should_keep_alive()
        assert not self.parser.should_upgrade()

    def on_body(self, body: bytes) -> None:
        self.requests[-1][2] += body

    def on_message_complete(self) -> None:
        assert not self.requests[-1][3]
        self.requests[-1][3] = True


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize("offer", [b"", H2C, WEBSOCKET], ids=["none", "h2c", "websocket"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_requests_with_an_offer_are_read_whole_and_so_are_those_behind_them(
    framing: str, offer: bytes, piece: int
) -> None:
    field, sent, body = FRAMINGS[framing]
    data = b"POST /a HTTP/1.1\r\nHost: x\r\n" + offer + field + b"\r\n" + sent
    data += b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nend" + data
    heard = Heard()
    for at in range(0, len(data), piece):
        heard.parser.feed_data(data[at : at + piece])
    assert heard.requests == [
        [b"POST", b"/a", body, True],
        [b"POST", b"/b", b"end", True],
        [b"POST", b"/a", body, True],
    ]


def test_any_number_of_offers_may_come_at_once() -> None:
    heard = Heard()
    heard.parser.feed_data(1_500 * (b"GET /a HTTP/1.1\r\nHost: x\r\n" + H2C + b"\r\n"))
    assert heard.requests == 1_500 * [[b"GET", b"/a", b"", True]]


def test_what_is_not_http_is_refused_behind_an_offer_too() -> None:
    heard = Heard()
    heard.parser.feed_data(b"POST /a HTTP/1.1\r\n" + H2C + b"Content-Length: 1\r\n\r\nx")
    with pytest.raises(httptools.HttpParserError):
        heard.parser.feed_data(b"nonsense\r\n\r\n")

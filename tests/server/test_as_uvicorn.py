"""Whatever comes over a connection, in whatever pieces, is answered to the byte as by uvicorn's own protocol.

But uvicorn sends chunks and `100 Continue` to clients of HTTP/1.0, too, and asks for no Host.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.server.backoff import Backoff
from app.server.protocol import Protocol
from tests.support.http11 import answering_errors

STREAMS = 400
TURNS = 60
"""Turns of the loop in which everything that came is answered."""
BAD_REQUEST = b"HTTP/1.1 400"
BAD_HOST = b"exactly one Host header"
TARGETS = (
    b"/",
    b"/chunks",
    b"/a%20b?x=1&y",
    b"/nothing",
    b"/close",
    b"/early",
    b"/raise",
    b"/x?",
    b"http://h/abs?q",
    b"*",
)
FIELDS = (
    b"Connection: close",
    b"Connection: keep-alive",
    b"connection: Close, x",
    b"Bad Header: 1",
    b"Expect: 100-continue",
)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer with all that is known of the request, in one of several ways."""
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        body, more = body + message["body"], message["more_body"]
    if scope["path"] == "/raise":
        raise RuntimeError
    known = ("method", "path", "raw_path", "query_string", "http_version", "headers")
    said = repr([*(scope[name] for name in known), body]).encode()
    headers = [] if scope["path"] in ("/chunks", "/nothing") else [(b"content-length", b"%d" % len(said))]
    headers += [(b"connection", b"close")] if scope["path"] == "/close" else []
    status, said = (204, b"") if scope["path"] == "/nothing" else (200, said)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["path"] == "/chunks":
        await send({"type": "http.response.body", "body": said[:7], "more_body": True})
        await asyncio.sleep(0)
        said = said[7:]
    await send({"type": "http.response.body", "body": said})


class Transport(asyncio.Transport):
    """Keeps what is written to it until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed, self.ended = b"", False, False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = self.ended = True

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Ignore it: what comes next is sent anyway."""

    def resume_reading(self) -> None:
        """Ignore it, too."""


def request(random: Random) -> bytes:
    """Return a request that is mostly right."""
    method = random.choice((b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT"))
    target = random.choice(TARGETS if random.random() < 0.95 else (b"bad path", b"/\xff", b"HTTP"))
    version = random.choice((b"1.1",) * 6 + (b"1.0", b"9.9"))
    field = random.choice(FIELDS) if random.random() < 0.2 else b"Accept: */*"
    if target == b"/chunks" or field.startswith(b"Expect"):
        version = version.replace(b"1.0", b"1.1")
    lines = [b"%b %b HTTP/%b" % (method, target, version), b"Host: x", field]
    body = b""
    if method in (b"POST", b"PUT"):
        content, size = random.randbytes(random.choice((0, 1, 5, 300))), random.randint(1, 300)
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        chunked = random.random() < 0.5
        lines.append(b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(content))
        body = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n" if chunked else content
    return b"\r\n".join([*lines, b"", b""]) + body


def stream(random: Random) -> list[bytes]:
    """Return some requests, sometimes with a fault in the middle, in pieces of any size."""
    data = b"".join(request(random) for _ in range(random.randint(1, 3)))
    if random.random() < 0.15:
        data = data[: random.randrange(len(data))] + random.randbytes(3) + data[random.randrange(len(data)) :]
    cuts = sorted(random.randrange(len(data)) for _ in range(random.choice((0, 0, 1, 3, 10))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]


async def answered(protocol: Any, config: uvicorn.Config, pieces: Sequence[bytes]) -> tuple[bytes, bool, int, int]:
    """Return what a protocol writes, whether it ends that, and the tasks and connections that are left."""
    state, transport = ServerState(), Transport()
    connection = protocol(config, state, {})
    connection.connection_made(transport)
    for piece in pieces:
        if not transport.closed:
            connection.data_received(piece)
        for _ in range(len(piece) % 8):
            await asyncio.sleep(0)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    ended = transport.ended
    connection.connection_lost(None)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    return transport.written, ended, len(state.tasks), len(state.connections)


@pytest.mark.parametrize("seed", range(4))
async def test_any_stream_is_answered_as_by_uvicorn(seed: int) -> None:
    app = answering_errors(application)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, date_header=False, ws="none")
    config.load()
    protocol = partial(Protocol, backoff=Backoff())
    random = Random(seed)
    for _ in range(STREAMS // 4):
        pieces = stream(random)
        theirs, ours = [await answered(one, config, pieces) for one in (HttpToolsProtocol, protocol)]
        if BAD_HOST in ours[0]:
            assert theirs[0].startswith(ours[0].partition(BAD_REQUEST)[0]), pieces
            continue
        if BAD_REQUEST not in theirs[0]:
            assert ours == theirs, pieces
            continue
        # What ours says of that is its own, and it does not keep the requests before from being answered.
        assert ours[0].startswith(theirs[0].partition(BAD_REQUEST)[0]), pieces
        assert BAD_REQUEST in ours[0] or b"connection: close" in ours[0], pieces
        assert ours[1:] == theirs[1:], pieces

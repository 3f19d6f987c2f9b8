"""The HTTP/1.1 protocol of a connection: uvicorn's, which outlasts slow and wrong clients."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from pydantic_core import to_json
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.api import problems
from app.api.security import RAW_HEADERS
from app.errors import MalformedRequest
from app.server.parser import Parser

HEADERS_S = 5.0
"""How long the headers of a request may take."""
HEADERS_BYTES = 64 * 1024
LINGER_S = 2.0
"""How long the rest of a body that was answered already is read and thrown away, so that its client sees the answer."""
READ_S = 0.1
"""How long bytes are waited for once a time is over: those that came while the process stood still are not read yet."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, but headers are bounded in time and size, and so is a body that was answered already."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_ended = False  # in the data that came last, or before
    _head_bytes = 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what uvicorn's protocol takes, and what is called when the connection is there and when it is gone."""
        super().__init__(config, server_state, app_state)
        self._changed = changed
        self.parser = Parser(self)  # type: ignore[assignment]  # it has what uvicorn asks of one

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first headers."""
        super().connection_made(transport)
        self._changed()
        self._close_in(HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the timer and the request, if there are any."""
        self._keep_open()
        super().connection_lost(exc)
        self._changed()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and bound how long and how large the headers of a request may be."""
        self._head_ended = not self._in_head
        super().data_received(data)
        if not self._head_ended and not self.transport.is_closing():
            self._close_in(HEADERS_S)  # blank lines before a request are no reason to wait longer
            self._head_bytes += len(data)
            if self._head_bytes > HEADERS_BYTES:
                self.send_400_response(f"The headers have more than {HEADERS_BYTES:,} bytes.")

    def on_headers_complete(self) -> None:
        """Let the request take the time that it has."""
        self._keep_open()
        self._in_head, self._head_ended, self._head_bytes = False, True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next request."""
        self._keep_open()
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Leave a client that still sends the time to read its answer, and no more."""
        unread = not self.pipeline and self.cycle.more_body
        super().on_response_complete()
        if unread:
            self._close_in(LINGER_S)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for long, unless a request has come that is not read yet."""
        self.timeout_keep_alive_task = self.loop.call_later(READ_S, super().timeout_keep_alive_handler)

    def _close_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._close_soon)

    def _close_soon(self) -> None:
        self._timer = self.loop.call_later(READ_S, self.transport.close)

    def _keep_open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, as every other error, and close the connection."""
        request_id = uuid.uuid4().hex
        body = to_json(problems.problem(MalformedRequest(msg), request_id))
        about = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        own = [(b"x-request-id", request_id.encode()), (b"connection", b"close")]
        fields = b"".join(b"%b: %b\r\n" % field for field in [*RAW_HEADERS, *about, *own])
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (fields, body))
        self.transport.close()

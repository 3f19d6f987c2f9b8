"""The HTTP/1.1 protocol of a connection: uvicorn's, which outlasts slow and wrong clients."""

import asyncio
import uuid
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api import openapi
from app.api.express import EXPRESS, Express, Prediction
from app.api.reply import reply
from app.errors import MalformedRequest

HEADERS_S = 5.0
"""How long the headers of a request may take."""
HEADERS_BYTES = 64 * 1024
LINGER_S = 2.0
"""How long the rest of a body that was answered already is read and thrown away, so that its client sees the answer."""


class _Answered:
    """What uvicorn knows of a request that was answered before its body came."""

    response_complete = more_body = keep_alive = True
    disconnected = False
    message_event = asyncio.Event()  # nobody waits for it


ANSWERED = _Answered()


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, but headers end in time and size, and so does a body that nobody wants any more."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_ended = False  # in the data that came last, or before
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first headers."""
        super().connection_made(transport)
        self._close_in(HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._keep_open()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; what is no whole head or body yet may not take for ever, nor a head be endless."""
        self._head_ended = not self._in_head
        super().data_received(data)
        if isinstance(self.cycle, Prediction) and self.cycle.more_body:
            self.cycle.wait()
        if not self._head_ended and not self.transport.is_closing():
            self._close_in(HEADERS_S)  # blank lines before a request are no reason to wait longer
            self._head_bytes += len(data)
            if self._head_bytes > HEADERS_BYTES:
                self.send_400_response(f"The headers have more than {HEADERS_BYTES:,} bytes.")

    def on_headers_complete(self) -> None:
        """Let the request take the time that it has."""
        self._keep_open()
        self._in_head, self._head_ended, self._head_bytes = False, True, 0
        if not self._taken():
            super().on_headers_complete()

    def _taken(self) -> bool:
        """Let `app.api.express` have what it takes; what it refuses is answered, and the connection goes on."""
        express: Express | None = self.app_state.get(EXPRESS)
        busy = self.cycle is not None and not self.cycle.response_complete
        if express is None or busy or self.expect_100_continue or not self.parser.should_keep_alive():
            return False
        if self.parser.get_method() != b"POST":
            return False
        taken = express.take(self.url, self.headers, self.server_state.default_headers)
        if isinstance(taken, bytes):
            self.cycle = cast("RequestResponseCycle", ANSWERED)
            self._respond(taken)
        elif taken is not None:
            self.cycle = cast("RequestResponseCycle", taken)
            taken.begin(self.loop, self._respond)
        return taken is not None

    def _respond(self, answer: bytes, *, close: bool = False) -> None:
        self.transport.write(answer)
        if close:
            self.transport.close()
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body."""
        if not isinstance(self.cycle, Prediction):
            super().on_body(body)
        elif not self.cycle.response_complete:
            self.cycle.body.append(body)

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

    def _close_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self.transport.close)

    def _keep_open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of every other error, and close."""
        request_id = uuid.uuid4().hex
        body = openapi.problem(MalformedRequest(msg), request_id).model_dump_json().encode()
        self.transport.write(reply(400, openapi.PROBLEM_TYPE, body, {"X-Request-ID": request_id}, close=True))
        self.transport.close()

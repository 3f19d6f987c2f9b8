"""The HTTP/1.1 protocol of a connection, which outlasts slow and wrong clients.

httptools parses, and an ASGI application answers. It takes less time than uvicorn's own protocol, above all for large
bodies and for refusals, and needs none of its inner parts (decision 34).
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
from pydantic_core import to_json
from uvicorn import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from app.api import problems
from app.api.security import RAW_HEADERS
from app.errors import MalformedRequest
from app.server.backoff import Backoff
from app.server.deadline import Deadline
from app.server.exchange import HTTP_1_1, Exchange, Fields
from app.server.head import HEADERS_BYTES, Head, too_large
from app.server.linger import Linger
from app.server.parser import Parser, what_is_wrong
from app.server.reading import Reading
from app.server.sending import Sending

HEADERS_S = 5.0
"""How long the headers of a request may take."""
MOST_WAITING = 16
"""While so many requests wait for the one ahead of them, no more are read. A piece may still bring more of them."""
PIECE_BYTES = 32 * 1024
"""What comes at once is parsed in pieces of this size, as it may hold thousands of requests."""


class Protocol(Reading, Sending):
    """One connection: its requests one after the other, each within bounds of time and size, and their responses."""

    _bare_bytes = 0
    """Bytes received since the head began or since the last part of the body."""
    _dropping = False
    """Whether what still comes is thrown away."""
    _unparsed = b""
    """What has come and waits, because too many requests do."""
    _refusal: str | None = None
    """What was not HTTP, to be said once the requests before it are answered."""
    _leaving = False

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        backoff: Backoff,
        *,
        changed: Callable[[], None] = lambda: None,
        refused: Callable[[MalformedRequest], str] = lambda _: uuid.uuid4().hex,
    ) -> None:
        """Take what uvicorn has of a server, and what it shares with the other connections.

        `changed` is called when the connection is there, and when it is gone; `refused` with what was no request. It
        returns the id that the response has.
        """
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._application: Any = config.loaded_app
        self._idle_s = config.timeout_keep_alive
        self._state = server_state
        self._app_state = app_state
        self._backoff = backoff
        self._changed = changed
        self._refused = refused
        self._head = Head()
        self._parser = Parser(self._head, self)
        self._deadline = Deadline(self.close)
        """When the connection is closed, unless what is waited for has come by then."""
        self._linger = Linger(self._deadline)
        self._unanswered: deque[Exchange] = deque()
        """The request that is being answered, and those that came meanwhile. The body of the last may still come."""

    @property
    def default_headers(self) -> Fields:
        """The headers of every response: the date."""
        return self._state.default_headers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first headers."""
        super().connection_made(transport)
        self._addresses = {"server": get_local_addr(self._transport), "client": get_remote_addr(self._transport)}
        self._state.connections.add(self)  # type: ignore[arg-type]  # it has what uvicorn asks of one
        self._changed()
        self._deadline.set(HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the times, and tell the requests that nobody waits for them any more."""
        super().connection_lost(exc)
        self._deadline.end()
        self._parser.end()
        for exchange in self._unanswered:
            exchange.disconnect()
        self._unanswered.clear()
        self._state.connections.discard(self)
        self._changed()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and bound the time that the rest of it may take."""
        if self._transport.is_closing():
            return
        self._parse_pieces(self._unparsed + data)
        if self._unanswered or self._leaving:
            return
        if self._dropping or not self._head.is_open:
            if not self._linger.took(len(data)):
                self.close()
        elif self._bare_bytes == len(data):  # a head begins; blank lines before it are no reason to wait longer
            self._deadline.set(HEADERS_S)

    def _parse_pieces(self, data: bytes) -> None:
        """Parse what came, and keep the rest once too many requests are waiting."""
        at = 0
        while at < len(data) and not self._too_many and not self._dropping:
            self._parse(data[at : at + PIECE_BYTES])
            at += PIECE_BYTES
        self._unparsed = b"" if self._dropping else data[at:]

    @property
    def _too_many(self) -> bool:
        return len(self._unanswered) > MOST_WAITING

    def _parse(self, data: bytes) -> None:
        self._bare_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            ours = exc.__context__  # raised by the head, or by one of the methods below
            begins = self._head.is_open and self._bare_bytes == len(data)
            self._refuse(ours.detail if isinstance(ours, MalformedRequest) else what_is_wrong(exc, data * begins))
            return
        if self._bare_bytes > HEADERS_BYTES:
            self._refuse(too_large().detail)

    def on_headers_complete(self) -> None:
        """Begin an exchange, which has the time that its application gives it."""
        version = self._parser.get_http_version()
        scope = self._head.end(self._parser.get_method(), version, self._app_state, self._addresses)
        self._deadline.lift()
        self._head.is_open, self._bare_bytes = False, 0
        modern = version >= HTTP_1_1
        keep_alive = modern and self._parser.should_keep_alive() and not self._leaving
        expects_continue = modern and self._head.expects_continue
        self._unanswered.append(Exchange(self, scope, keep_alive=keep_alive, expects_continue=expects_continue))
        if len(self._unanswered) == 1:
            self._start()
        else:
            self.pause_reading()

    def _start(self) -> None:
        task = self._loop.create_task(self._unanswered[0].run(self._application))
        task.add_done_callback(self._state.tasks.discard)
        self._state.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on, unless its request is answered already."""
        self._bare_bytes = 0
        if self._unanswered:
            self._unanswered[-1].add_body(body)

    def on_message_complete(self) -> None:
        """Expect the next request."""
        self._head.is_open, self._bare_bytes = True, 0
        if self._unanswered:
            self._unanswered[-1].end_body()
        else:
            self._idle()

    def answered(self, exchange: Exchange) -> None:
        """Go on with the next request, or wait for one; a client that still sends has some time to read its answer."""
        self._state.total_requests += 1
        self._unanswered.popleft()
        if self._transport.is_closing():
            return
        if exchange.status == HTTPStatus.TOO_MANY_REQUESTS and exchange.keep_alive and not self._resting:
            self._backoff.add(self)
        if not exchange.keep_alive:
            more = exchange.more_body or self._unanswered or self._unparsed or self._dropping
            self._end() if more else self.close()
        elif self._unanswered:
            self._start()
            self._parse_pieces(self._unparsed)
        elif self._refusal is not None:
            self._say_refusal(self._refusal)
        elif exchange.more_body:
            self._linger.begin()
        else:
            self._idle()
        self.resume_reading()

    def _idle(self) -> None:
        """Let the next request have its time to come."""
        self._deadline.set(0 if self._leaving else self._idle_s)

    def shutdown(self) -> None:
        """Close the connection with the response to its last request, or soon: one may be there that is not read."""
        self._leaving = True
        if self._unanswered:
            self._unanswered[-1].keep_alive = False
        else:
            if self._resting:
                self.go_on()
            self._deadline.set(0)

    def _end(self) -> None:
        """Send no more, and drop what still comes until the client has had time to read its answer (RFC 9112, 9.6)."""
        self._dropping = True
        self._unanswered.clear()
        self._transport.write_eof()
        self._linger.begin()

    def resume_reading(self) -> None:
        """Read on, if reading was paused, unless too many requests are waiting."""
        if not self._too_many and not self._unparsed:
            super().resume_reading()

    def _refuse(self, detail: str) -> None:
        """Take no more of what is not HTTP. The requests before it are answered, and then the connection is closed."""
        self._dropping = True
        if self._head.is_open:
            self._refusal = detail
        elif self._unanswered:
            self._unanswered[-1].break_off(detail)
        if self._unanswered:
            self.pause_reading()
        elif self._refusal is not None:
            self._say_refusal(self._refusal)
        else:
            self._end()

    def _say_refusal(self, detail: str) -> None:
        error = MalformedRequest(detail)
        request_id = self._refused(error)
        body = to_json(problems.problem(error, request_id))
        about = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        own = [(b"x-request-id", request_id.encode()), (b"connection", b"close")]
        fields = b"".join([b"%b: %b\r\n" % field for field in [*self.default_headers, *RAW_HEADERS, *about, *own]])
        self.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (fields, body))
        self._end()

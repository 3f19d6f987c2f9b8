"""The HTTP/1.1 protocol of a connection, which outlasts slow and wrong clients.

httptools parses, and an ASGI application answers. It takes less time than uvicorn's own protocol, above all for large
bodies and for refusals, and needs none of its inner parts (decision 34).
"""

import asyncio
import socket
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from itertools import chain
from math import inf
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from pydantic_core import to_json
from starlette.types import Scope
from uvicorn import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from app.api import problems
from app.api.security import RAW_HEADERS
from app.errors import MalformedRequest
from app.server.backoff import Backoff
from app.server.exchange import Exchange, Fields
from app.server.parser import Parser

ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
HEADERS_S = 5.0
"""How long the headers of a request may take."""
HEADERS_BYTES = 64 * 1024
"""How much may come of a request without a part of its body: its head, or what stands between and behind the chunks."""
LINGER_S = 2.0
"""How long what a client still sends after its answer is read and thrown away, so that the client sees the answer."""
TAKING_S = 5.0
"""How long a client may take nothing of what was sent to it."""
MOST_WAITING = 16
"""While so many requests wait for the one ahead of them, no more are read. One read may still bring more of them."""
RESTING_BYTES = 256 * 1024
"""While a connection rests, it is not heard of before its client has sent so much."""
READ_S = 0.1
"""How long bytes are waited for once a time is over: those that came while the process stood still are not read yet."""


class Protocol(asyncio.Protocol):
    """One connection: its requests one after the other, each within bounds of time and size, and their responses."""

    _transport: asyncio.Transport
    _exchange: Exchange | None = None  # the last one
    _running: Exchange | None = None  # the one that was started last
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_ended = False  # in the data that came last, or before
    _bare_bytes = 0  # that came since the head began, or since a part of the body came
    _refusal: str | None = None  # what is not HTTP, to be said; empty if not. Then whatever comes is dropped
    _written_bytes = 0
    _taking: asyncio.TimerHandle | None = None
    _idle_until = inf  # a time of the loop; infinite while there is a request
    _idle_timer: asyncio.TimerHandle | None = None
    _overdue = False
    _reading = True
    _resting = False
    _leaving = False
    blocked: asyncio.Event | None = None
    """While the client does not take what was sent to it, this is there, and is set when it does or is gone."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        backoff: Backoff,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what uvicorn has of a server, and what it shares with the other connections.

        `changed` is called when the connection is there, and when it is gone.
        """
        self._loop = asyncio.get_running_loop()
        self._application: Any = config.loaded_app
        self._idle_s = config.timeout_keep_alive
        self._state = server_state
        self._app_state = app_state
        self._backoff = backoff
        self._changed = changed
        self._parser = Parser(self)
        self._waiting: deque[Exchange] = deque()
        """Requests that came before the one ahead of them was answered."""

    @property
    def default_headers(self) -> Fields:
        """The headers of every response: the date."""
        return self._state.default_headers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first headers."""
        self._transport = cast("asyncio.Transport", transport)
        self._ends = {"server": get_local_addr(self._transport), "client": get_remote_addr(self._transport)}
        self._state.connections.add(self)  # type: ignore[arg-type]  # it has what uvicorn asks of one
        self._changed()
        self._close_in(HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the timers, and tell the requests that nobody waits for them any more."""
        self._keep_open()
        for timer in (self._idle_timer, self._taking):
            if timer is not None:
                timer.cancel()
        self.resume_writing()
        for exchange in (self._running, *self._waiting):
            if exchange is not None:
                exchange.disconnect()
        self._waiting.clear()
        self._state.connections.discard(self)
        self._changed()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and bound how long and how large the headers of a request may be."""
        if self._transport.is_closing() or self._refusal is not None:
            return
        self._idle_until, self._overdue = inf, False
        self._head_ended = not self._in_head
        self._bare_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            ours = exc.__context__  # raised by one of the methods below
            self._refuse(ours.detail if isinstance(ours, MalformedRequest) else "Invalid HTTP request received.")
            return
        if not self._head_ended and (self._exchange is None or self._exchange.complete):
            self._close_in(HEADERS_S)  # blank lines before a request are no reason to wait longer
        if self._bare_bytes > HEADERS_BYTES:
            self._refuse(_too_large().detail)

    def on_message_begin(self) -> None:
        """Expect the parts of a head."""
        self._target = b""
        self.headers: Fields = []
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer of a body is none, and nobody asks for one."""
        if not self._in_head:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin an exchange, which has the time that its application gives it."""
        if len(self._target) + sum(map(len, chain.from_iterable(self.headers))) > HEADERS_BYTES:
            raise _too_large()
        version = self._parser.get_http_version()
        scope = self._scope(version)
        self._keep_open()
        self._in_head, self._head_ended, self._bare_bytes = False, True, 0
        self._idle_until = inf
        keep_alive = version != "1.0" and self._parser.should_keep_alive() and not self._leaving
        ahead = self._exchange
        self._exchange = Exchange(self, scope, keep_alive=keep_alive, expects_continue=self._expects_continue)
        if ahead is None or ahead.complete:
            self._start(self._exchange)
        else:
            self.pause_reading()
            self._waiting.append(self._exchange)

    def _scope(self, version: str) -> Scope:
        target = httptools.parse_url(self._target)
        path = target.path.decode("ascii")
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": target.path,
            "query_string": target.query or b"",
            "root_path": "",
            "headers": self.headers,
            "state": self._app_state.copy(),
            **self._ends,
        }

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        task = self._loop.create_task(exchange.run(self._application))
        task.add_done_callback(self._state.tasks.discard)
        self._state.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self._bare_bytes = 0
        cast("Exchange", self._exchange).add_body(body)

    def on_message_complete(self) -> None:
        """Expect the next request."""
        self._keep_open()
        self._in_head, self._bare_bytes = True, 0
        exchange = cast("Exchange", self._exchange)
        exchange.end_body()
        if exchange.complete:
            self._idle()

    def answered(self, exchange: Exchange) -> None:
        """Go on with the next request, or wait for one; a client that still sends has some time to read its answer."""
        self._state.total_requests += 1
        if self._transport.is_closing():
            return
        if exchange.status == HTTPStatus.TOO_MANY_REQUESTS and exchange.keep_alive and not self._resting:
            self._backoff.add(self)
        if not exchange.keep_alive:
            more = exchange.more_body or self._waiting or self._refusal is not None
            self._end() if more else self.close()
        elif self._waiting:
            self._start(self._waiting.popleft())
        elif self._refusal is not None:
            self._say_refusal()
        elif exchange.more_body:
            self._close_in(LINGER_S)
        else:
            self._idle()
        self.resume_reading()

    def _idle(self) -> None:
        """Let the next request have its time to come. One timer serves many requests, as most come soon."""
        if self._leaving:
            self._close_soon()
            return
        self._idle_until = self._loop.time() + self._idle_s
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._idle_s, self._look)

    def _look(self) -> None:
        """Close the connection if it has been idle for long, and then once more nothing was there to be read."""
        self._idle_timer = None
        left_s = self._idle_until - self._loop.time()
        if left_s <= 0 and self._overdue:
            self.close()
        elif left_s < inf:
            self._overdue = left_s <= 0
            self._idle_timer = self._loop.call_later(READ_S if self._overdue else left_s, self._look)

    def _close_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._close_soon)

    def _close_soon(self) -> None:
        self._timer = self._loop.call_later(READ_S, self.close)

    def _keep_open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def shutdown(self) -> None:
        """Close the connection with the response to its last request, or soon: one may be there that is not read."""
        self._leaving = True
        if self._exchange is not None and not self._exchange.complete:
            self._exchange.keep_alive = False
        else:
            if self._resting:
                self.go_on()
            self._keep_open()
            self._close_soon()

    def write(self, data: bytes) -> None:
        """Send it, unless the client is gone."""
        if not self._transport.is_closing():
            self._written_bytes += len(data)
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self._transport.close()
        self._expect_taking()

    def _end(self) -> None:
        """Send no more, and drop what still comes, until the client has had some time to read its answer.

        If the connection was closed at once, a client that still sends would be reset (RFC 9112, 9.6).
        """
        self._refusal = ""
        self._waiting.clear()
        self._transport.write_eof()
        self._keep_open()
        self._close_in(LINGER_S)

    def pause_reading(self) -> None:
        """Read no more from the client for now."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, if reading was paused, unless too many requests are waiting."""
        if not self._reading and len(self._waiting) < MOST_WAITING and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def rest(self) -> None:
        """Have the kernel say nothing of what the client sends, unless it is much.

        To pause reading would not do: the event loop is still woken up once for each connection that is paused.
        """
        self._resting = True
        self._wake_at(RESTING_BYTES)

    def go_on(self) -> None:
        """Have the kernel say what the client sends, or has sent."""
        self._resting = False
        if not self._transport.is_closing():
            self._wake_at(1)
            if self._reading:  # Linux before 4.18 does not say by itself what is there already
                self._transport.pause_reading()
                self._transport.resume_reading()

    def _wake_at(self, size: int) -> None:
        with suppress(OSError):  # without the option a connection just does not rest
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def pause_writing(self) -> None:
        """Hear that the client takes less than is sent to it."""
        self.blocked = asyncio.Event()
        self._expect_taking()

    def resume_writing(self) -> None:
        """Hear that the client has taken most of it."""
        if self.blocked is not None:
            self.blocked.set()
            self.blocked = None

    def _expect_taking(self) -> None:
        """Cut the client off if for some time it takes nothing of what was sent to it. A slow one takes something."""
        if self._taking is None and self._transport.get_write_buffer_size():
            self._taking = self._loop.call_later(TAKING_S, self._doubt, self._taken_bytes)

    @property
    def _taken_bytes(self) -> int:
        return self._written_bytes - self._transport.get_write_buffer_size()

    def _doubt(self, taken_bytes: int) -> None:
        self._taking = self._loop.call_later(READ_S, self._cut_off, taken_bytes)

    def _cut_off(self, taken_bytes: int) -> None:
        self._taking = None
        if self._taken_bytes > taken_bytes:
            self._expect_taking()
        else:
            self._transport.abort()

    def _refuse(self, detail: str) -> None:
        """Answer what is not HTTP with a problem, once what came before it is answered, and close the connection."""
        self._refusal = detail
        last = self._exchange
        if last is not None and not self._in_head:  # it is in the body of that one, which will never be whole
            if last in self._waiting:
                self._waiting.remove(last)
            elif last.status:
                self._refusal = ""  # that one has an answer already
            else:
                last.disconnect()
        if self._running is None or self._running.over:
            self._say_refusal()
        else:
            self.pause_reading()

    def _say_refusal(self) -> None:
        if self._refusal:
            request_id = uuid.uuid4().hex
            body = to_json(problems.problem(MalformedRequest(self._refusal), request_id))
            about = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
            own = [(b"x-request-id", request_id.encode()), (b"connection", b"close")]
            fields = b"".join([b"%b: %b\r\n" % field for field in [*RAW_HEADERS, *about, *own]])
            self.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (fields, body))
        self._end()


def _too_large() -> MalformedRequest:
    return MalformedRequest(f"The headers have more than {HEADERS_BYTES:,} bytes.")

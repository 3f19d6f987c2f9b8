"""A lean HTTP client for loads: what it takes of the CPU, a service on the same machine lacks."""

import asyncio
import re
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import cast
from urllib.parse import urlsplit

import numpy as np

from tools.load.messages import Message
from tools.load.result import ERROR, LEFT, TIMEOUT, LoadResult

MAX_CONNECTIONS = 512
TIMEOUT_S = 30.0
"""Longer than the deadline of the service, so that the client sees its 504."""
IDLE_S = 3.0
"""A connection that was idle for longer is not used again: the server may close it just then and lose the request."""

CHUNKED = b"\r\ntransfer-encoding: chunked"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")


@dataclass(slots=True, eq=False)
class _Request:
    message: Message
    due: float
    begun: float
    timer: asyncio.TimerHandle | None = None
    sent: float = nan
    connection: "_Connection | None" = None


class _Connection(asyncio.Protocol):
    """A keep-alive connection, for one request at a time. An answer ends where its head says, or when it is closed."""

    def __init__(self, client: "LoadClient") -> None:
        self._client = client
        self._answer = b""
        self.request: _Request | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._client.ready(self)

    def send(self, request: _Request) -> None:
        self.request, request.connection, self._answer = request, self, b""
        request.sent = time.perf_counter()
        self.transport.write(request.message.data)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, rest = self._answer.partition(b"\r\n\r\n")
        body = _whole(head.lower(), rest) if found else None
        if body is not None:
            self._finish(int(head[9:12]), body, b"connection: close" in head.lower())

    def _finish(self, status: int, body: bytes, close: bool) -> None:
        request, self.request = self.request, None
        if close:
            self.transport.close()
        else:
            self._client.ready(self)
        if request is not None:
            if request.message.on_answer is not None:
                request.message.on_answer(status, body)
            self._client.end(request, status)

    def connection_lost(self, exc: Exception | None) -> None:
        request, self.request = self.request, None
        self._client.lost(self)
        if request is not None:
            head, found, _ = self._answer.partition(b"\r\n\r\n")
            endless = found and not LENGTH.search(head.lower()) and CHUNKED not in head.lower()
            self._client.end(request, int(head[9:12]) if endless and exc is None else ERROR)


def _whole(head: bytes, rest: bytes) -> bytes | None:
    """Return the body of an answer whose head, in lower case, is `head`; None if the body is not complete yet."""
    if length := LENGTH.search(head):
        return rest if len(rest) >= int(length[1]) else None
    return _joined(rest) if CHUNKED in head else None


def _joined(rest: bytes) -> bytes | None:
    """Return the content of a chunked body; None if its last chunk has not come yet."""
    body = b""
    while True:
        line, found, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16) if found else 0
        if not found or len(rest) < size + 2:
            return None
        if size == 0:
            return body
        body, rest = body + rest[:size], rest[size + 2 :]


class LoadClient:
    """A pool of connections, which grows with the requests under way up to a limit; further requests wait their turn.

    Timeouts count from when a request was due. `on_end` is called whenever a request has ended.
    """

    def __init__(self, url: str, *, max_connections: int = MAX_CONNECTIONS, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._max_connections = max_connections
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._connections: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[_Request] = deque()
        self._under_way: set[_Request] = set()
        self._changed = asyncio.Event()
        self._outcomes, self._times = array("h"), array("d")
        self.on_end: Callable[[], None] = lambda: None

    def send(self, message: Message, due: float) -> None:
        """Send a message on a free connection, or on the next one that gets free; `due` is a time of `perf_counter`."""
        now = time.perf_counter()
        request = _Request(message, due, now)
        request.timer = self._loop.call_later(due + self._timeout_s - now, self._give_up, request, TIMEOUT)
        self._under_way.add(request)
        self._waiting.append(request)
        if self._idle and now - self._idle[-1].idle_since > IDLE_S:
            self._close_idle()  # even the last one, which was in use most recently, has been idle for too long
        while self._idle and self._waiting:
            self.ready(self._idle.pop())
        self._grow()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().transport.close()

    def _grow(self) -> None:
        room = self._max_connections - len(self._connections) - len(self._opening)
        if room > 0 and len(self._waiting) > len(self._opening):
            task = self._loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    async def _open(self) -> None:
        connection = _Connection(self)
        try:
            await self._loop.create_connection(lambda: connection, self._host, self._port)
        except asyncio.CancelledError:
            self.lost(connection)  # uvloop does not tell a connection that was made just before
            raise

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._changed.set()
        if task.cancelled():
            return
        if task.exception() is not None and (request := self._next()) is not None:
            self.end(request, ERROR)
        self._grow()

    def _next(self) -> _Request | None:
        """Take the request that has waited longest, leaving out those that have been given up."""
        while self._waiting:
            request = self._waiting.popleft()
            if request in self._under_way:
                return request
        return None

    def ready(self, connection: _Connection) -> None:
        """Use a free connection for the next request that waits, or keep it for later."""
        self._connections.add(connection)
        if connection.transport.is_closing():
            return
        if (request := self._next()) is None:
            connection.idle_since = time.perf_counter()
            self._idle.append(connection)
            return
        connection.send(request)
        if (after_s := request.message.leave_after_s) is not None and request.timer is not None:
            request.timer.cancel()
            request.timer = self._loop.call_later(after_s, self._give_up, request, LEFT)

    def lost(self, connection: _Connection) -> None:
        """Forget a connection that was closed."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._changed.set()
        self._grow()

    def end(self, request: _Request, outcome: int) -> None:
        """Record how a request ended, and when."""
        now = time.perf_counter()
        if request.timer is not None:
            request.timer.cancel()
        self._outcomes.append(outcome)
        self._times.extend((request.due, request.begun, request.sent, now))
        self.on_end()
        self._under_way.discard(request)
        self._changed.set()

    def _give_up(self, request: _Request, outcome: int) -> None:
        if (connection := request.connection) is not None:
            connection.request = None
            connection.transport.abort()
        self.end(request, outcome)

    async def finish(self) -> None:
        """Wait until every request has ended."""
        await self._until(lambda: not self._under_way)

    async def close(self) -> None:
        """Close every connection."""
        self._max_connections = 0
        for task in self._opening:
            task.cancel()
        await self._until(lambda: not self._opening)
        for connection in list(self._connections):
            connection.transport.close()
        await self._until(lambda: not self._connections)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._changed.clear()
            await self._changed.wait()

    def result(self, started: float, seconds: float) -> LoadResult:
        """Return what became of the requests that have ended."""
        due, *times = np.array(self._times).reshape(-1, 4).T
        outcomes = np.array(self._outcomes, np.int16)
        return LoadResult(started, seconds, outcomes, due - started, *((time_ - due) * 1000 for time_ in times))

"""HTTP load on `/predict`: constant-rate arrivals (open loop), or connections that send once answered (closed loop).

In an open loop a request is sent when it is due, whether or not earlier ones were answered, and its latency counts from
then: a service that stalls neither slows down what is asked of it nor hides how long its users waited ("coordinated
omission"). The client is a lean one of its own, since what it takes of the CPU a service on the same machine lacks.
"""

import asyncio
import io
import re
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import ceil, nan
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np
import typer
import uvloop
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

Floats = NDArray[np.float64]
T = TypeVar("T")

MAX_CONNECTIONS = 512
MOST_PHOTOS = 256
TIMEOUT_S = 30.0
"""Longer than the service's own deadline, so that its 504 is seen."""
IDLE_S = 3.0
"""A connection idle for longer is not used again: the server is about to close it, and would lose the request."""

ERROR, TIMEOUT, LEFT = 0, 1, 2
"""Outcomes that are no HTTP status: the connection failed; no answer in time; the client left, as it meant to."""
NAMES = {ERROR: "error", TIMEOUT: "timeout", LEFT: "left"}
OK, TOO_MANY_REQUESTS = 200, 429

RAW = "application/octet-stream"
BOUNDARY = "----4f1c8a0e7b2d"

CHUNKED = b"\r\ntransfer-encoding: chunked"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")


class Message(NamedTuple):
    """The bytes of a request and, for a client that does not wait for its answer, seconds until it disconnects.

    `on_answer` gets the status and the body of the answer.
    """

    data: bytes
    leave_after_s: float | None = None
    on_answer: Callable[[int, bytes], None] | None = None


def post(url: str, body: bytes, query: str = "", kind: str = RAW) -> bytes:
    """Return the bytes of a request that posts this body, of this media type, to `/predict` of the service at `url`."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path.rstrip('/')}/predict{query and '?'}{query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def post_form(url: str, image: bytes) -> bytes:
    """Return the bytes of a request that posts an image as a browser's form does."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\nContent-Type: {RAW}\r\n\r\n'
    body = b"%b%b\r\n--%b--\r\n" % (head.encode(), image, BOUNDARY.encode())
    return post(url, body, kind=f"multipart/form-data; boundary={BOUNDARY}")


def read_photos(folder: Path) -> list[bytes]:
    """Return the files below a folder: all, or up to `MOST_PHOTOS` taken evenly."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.read_bytes() for path in paths[:: ceil(len(paths) / MOST_PHOTOS) or 1]]


def make_photos(count: int = 16, width: int = 224, height: int = 224, quality: int = 75) -> list[bytes]:
    """Return JPEG files as photos are: soft colours and some noise; of 224 × 224 pixels about 13 KB each."""
    rng = np.random.default_rng(0)
    return [_photo(rng, width, height, quality) for _ in range(count)]


def _photo(rng: np.random.Generator, width: int, height: int, quality: int) -> bytes:
    colours = Image.fromarray(rng.integers(0, 256, (14, 14, 3), np.uint8))
    noise = rng.normal(0, 9, (height, width, 1))
    pixels = np.asarray(colours.resize((width, height), Image.Resampling.BICUBIC)) + noise
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def percentile(values: Floats, percent: float) -> float:
    """Return a percentile of the values that are no nan; nan if there are none."""
    found = values[~np.isnan(values)]
    return float(np.percentile(found, percent)) if len(found) else nan


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What became of a load. The arrays have an entry for each request, in the order in which they ended.

    `started` is of `time.perf_counter`, and `seconds` is how long requests were sent. An outcome is an HTTP status,
    `ERROR`, `TIMEOUT` or `LEFT`. Due times are seconds after the start; all else counts from them: the lag until the
    client got round to a request, the wait until it had a connection for it (nan: never), the latency until it ended.
    """

    started: float
    seconds: float
    outcomes: NDArray[np.int16]
    due_s: Floats
    lag_ms: Floats
    wait_ms: Floats
    latency_ms: Floats

    @property
    def counts(self) -> dict[str, int]:
        """How many requests ended with each status, `error`, `timeout` or `left`."""
        found = zip(*np.unique(self.outcomes, return_counts=True), strict=True)
        return {NAMES.get(int(outcome), str(outcome)): int(count) for outcome, count in found}

    @property
    def offered_per_s(self) -> float:
        """Requests a second that were due."""
        return len(self.outcomes) / self.seconds

    @property
    def ended_per_s(self) -> dict[str, float]:
        """How many ended a second with each, while requests were sent."""
        counts = self.window(0, self.seconds).counts
        return {name: count / self.seconds for name, count in counts.items()}

    @property
    def goodput_per_s(self) -> float:
        """Answers 200 a second, while requests were sent."""
        return self.ended_per_s.get(str(OK), 0.0)

    def latencies_ms(self, outcome: int) -> Floats:
        """Return the latencies of the requests that ended so."""
        found: Floats = self.latency_ms[self.outcomes == outcome]
        return found

    def percentile_ms(self, percent: float, outcome: int = OK) -> float:
        """Return a percentile of the latencies of the requests that ended so; nan if none did."""
        return percentile(self.latencies_ms(outcome), percent)

    @property
    def lag_p99_ms(self) -> float:
        """How late the client itself was; where this is no small part of a latency, the client is the bottleneck."""
        return percentile(self.lag_ms, 99)

    def window(self, start_s: float, end_s: float) -> "Result":
        """Return the requests that ended between these seconds after the start."""
        ended_s = self.due_s + self.latency_ms / 1000
        inside = (start_s <= ended_s) & (ended_s < end_s)
        times = (self.lag_ms[inside], self.wait_ms[inside], self.latency_ms[inside])
        due_s = self.due_s[inside] - start_s
        return Result(self.started + start_s, end_s - start_s, self.outcomes[inside], due_s, *times)


@dataclass(slots=True, eq=False)
class _Request:
    message: Message
    due: float
    begun: float
    timer: asyncio.TimerHandle | None = None
    sent: float = nan
    connection: "_Connection | None" = None


class _Connection(asyncio.Protocol):
    """A keep-alive connection: one request at a time. An answer ends where its head says, or with the connection."""

    def __init__(self, client: "Client") -> None:
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
    """Return the body of an answer, None if there is more to come; `head` is in lower case."""
    if length := LENGTH.search(head):
        return rest if len(rest) >= int(length[1]) else None
    return _joined(rest) if CHUNKED in head else None


def _joined(rest: bytes) -> bytes | None:
    """Return what the chunks have, None if the last one has not come."""
    body = b""
    while True:
        line, found, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16) if found else 0
        if not found or len(rest) < size + 2:
            return None
        if size == 0:
            return body
        body, rest = body + rest[:size], rest[size + 2 :]


class Client:
    """A pool of connections that grows with the requests under way, up to a limit; what is more waits its turn.

    Timeouts count from when a request was due. `on_end` is called whenever a request ended.
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
        """Send a message on a connection that is free, or the next one to be; `due` is of `time.perf_counter`."""
        now = time.perf_counter()
        request = _Request(message, due, now)
        request.timer = self._loop.call_later(due + self._timeout_s - now, self._give_up, request, TIMEOUT)
        self._under_way.add(request)
        self._waiting.append(request)
        if self._idle and now - self._idle[-1].idle_since > IDLE_S:
            self._close_idle()  # the last is the one that was used last
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
        await self._loop.create_connection(lambda: _Connection(self), self._host, self._port)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if task.cancelled():
            return
        if task.exception() is not None and (request := self._next()) is not None:
            self.end(request, ERROR)
        self._changed.set()
        self._grow()

    def _next(self) -> _Request | None:
        """Take the request that waited longest and is still under way."""
        while self._waiting:
            request = self._waiting.popleft()
            if request in self._under_way:
                return request
        return None

    def ready(self, connection: _Connection) -> None:
        """Use a connection for what waits, or keep it."""
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
        """Forget a connection that ended."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._changed.set()
        self._grow()

    def end(self, request: _Request, outcome: int) -> None:
        """Note how a request ended, and when."""
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
        """Wait until every request ended."""
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

    def result(self, started: float, seconds: float) -> Result:
        """Return what became of the requests that ended."""
        due, *times = np.array(self._times).reshape(-1, 4).T
        outcomes = np.array(self._outcomes, np.int16)
        return Result(started, seconds, outcomes, due - started, *((time_ - due) * 1000 for time_ in times))


async def open_loop(
    url: str,
    messages: Iterable[Message],
    *,
    rate_per_s: float,
    seconds: float,
    max_connections: int = MAX_CONNECTIONS,
    timeout_s: float = TIMEOUT_S,
) -> Result:
    """Send the messages, over and over, at a constant rate; then wait for what is under way."""
    client = Client(url, max_connections=max_connections, timeout_s=timeout_s)
    started = time.perf_counter()
    try:
        for number, message in enumerate(islice(cycle(messages), round(rate_per_s * seconds))):
            due = started + number / rate_per_s
            if (early_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            client.send(message, due)
        await client.finish()
    finally:
        await client.close()
    return client.result(started, seconds)


async def closed_loop(
    url: str, messages: Iterable[Message], *, connections: int, seconds: float, timeout_s: float = TIMEOUT_S
) -> Result:
    """Send the messages, over and over, on so many connections, on each as soon as it was answered."""
    client = Client(url, max_connections=connections, timeout_s=timeout_s)
    source = cycle(messages)
    started = time.perf_counter()

    def again() -> None:
        now = time.perf_counter()
        if now < started + seconds:
            client.send(next(source), now)

    client.on_end = again
    try:
        for _ in range(connections):
            again()
        await client.finish()
    finally:
        await client.close()
    return client.result(started, seconds)


async def meanwhile(work: Coroutine[Any, Any, T], every_s: float, tick: Callable[[], object]) -> T:
    """Await the work, and call `tick` every so many seconds until it is done."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((task,), timeout=every_s))[0]:
            tick()
        return task.result()
    finally:
        task.cancel()


async def shown(work: Coroutine[Any, Any, T], title: str, seconds: float) -> T:
    """Await work of so many seconds under a progress bar."""
    # Refreshed from here, twice a second: the thread that does it otherwise takes the client's time.
    with Progress(console=Console(stderr=True), auto_refresh=False) as progress:
        bar = progress.add_task(title, total=seconds)
        started = time.perf_counter()

        def tick() -> None:
            progress.update(bar, completed=min(time.perf_counter() - started, seconds), refresh=True)

        result = await meanwhile(work, 0.5, tick)
        progress.update(bar, completed=seconds, refresh=True)
    return result


def format_number(value: float, digits: int = 1) -> str:
    """Return a number as the tables show it; a dash for what was not measured."""
    return "–" if np.isnan(value) else f"{value:,.{digits}f}"


def _outcomes(result: Result) -> Iterator[Sequence[str]]:
    codes = {name: code for code, name in NAMES.items()}
    for name, count in result.counts.items():
        code = codes[name] if name in codes else int(name)
        percentiles = (format_number(result.percentile_ms(percent, code)) for percent in (50, 95, 99))
        wait_ms = percentile(result.wait_ms[result.outcomes == code], 50)
        yield name, f"{count:,}", *percentiles, format_number(wait_ms)


def table(result: Result) -> Table:
    """Return the table of outcomes and of milliseconds since a request was due; `connected`: it had a connection."""
    shown_table = Table()
    for name in ("outcome", "requests", "p50 ms", "p95 ms", "p99 ms", "connected p50 ms"):
        shown_table.add_column(name, justify="right")
    for row in _outcomes(result):
        shown_table.add_row(*row)
    return shown_table


def summary(result: Result) -> str:
    """Return the rates, and how late the client was, in a line."""
    offered, goodput, lag = map(format_number, (result.offered_per_s, result.goodput_per_s, result.lag_p99_ms))
    return f"{offered} requests/s, {goodput} answers 200/s; the client itself was up to {lag} ms late (p99)"


def main(
    url: Annotated[str, typer.Argument(help="Where the service answers, such as http://127.0.0.1:8000.")],
    photos: Annotated[list[Path], typer.Argument(help="Image files to post, in turn.", exists=True)],
    rate: Annotated[float | None, typer.Option(help="Requests a second, for an open loop.")] = None,
    connections: Annotated[int | None, typer.Option(help="Connections, for a closed loop.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to send.")] = 10,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is given up.")] = TIMEOUT_S,
    form: Annotated[bool, typer.Option(help="Post each as a form, not raw.")] = False,
) -> None:
    """Put load on a running service, and print what became of it."""
    write = post_form if form else post
    messages = [Message(write(url, photo.read_bytes())) for photo in photos]
    if rate and not connections:
        work = open_loop(url, messages, rate_per_s=rate, seconds=seconds, timeout_s=timeout)
    elif connections and not rate:
        work = closed_loop(url, messages, connections=connections, seconds=seconds, timeout_s=timeout)
    else:
        raise typer.BadParameter("say --rate for an open loop, or --connections for a closed one")
    result = uvloop.run(shown(work, "load", seconds))
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print(table(result), summary(result))


if __name__ == "__main__":
    typer.run(main)

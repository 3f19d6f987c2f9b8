"""The sockets: binding, uvicorn with one worker or several, and a protocol that outlasts slow and wrong clients."""

import asyncio
import gc
import signal
import socket
import sys
import uuid
from functools import partial
from math import ceil
from typing import cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import multiprocess

from app.api import openapi
from app.api.express import EXPRESS, Express, Prediction
from app.api.reply import reply
from app.config import Settings
from app.errors import BAD_START, MalformedRequest, StartError
from app.observability import metrics
from app.server.acceptor import Accepted, Acceptor

GRACE_S = 5
HEADERS_S = 5.0
"""How long the headers of a request may take."""
HEADERS_BYTES = 64 * 1024
LINGER_S = 2.0
"""How long the rest of a body that was answered already is read and thrown away, so that its client sees the answer."""


YOUNG = 10_000
"""New objects from which on garbage is looked for: at Python's 700 that is a twentieth of the work of a request."""


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


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound and does not listen: until the model is loaded a connection is refused.

    Raises `StartError` if the address cannot be had.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise StartError(f"MOBILENET_HOST={host} MOBILENET_PORT={port}: cannot listen there: {exc.strerror}") from exc
    listener.set_inheritable(True)
    return listener


def _collect_seldom() -> None:
    """Leave out of every collection what has been loaded by now, and collect less often: little here is in cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=Protocol,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=ceil(settings.request_timeout_ms / 1000) + GRACE_S,
    )


def serve_one(app: object, settings: Settings, listener: socket.socket) -> None:
    """Serve in this process until SIGTERM or SIGINT."""
    _collect_seldom()
    server = uvicorn.Server(_config(app, settings))
    # The server raises the signal again when it is done: stopping when told to is success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn's, but its connections come from an acceptor."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections from the channel that is the one socket, once the application is ready."""
        await super().startup(sockets=[])
        _collect_seldom()
        protocol = partial(Protocol, self.config, self.server_state, self.lifespan.state)
        for channel in sockets or ():
            self.servers.append(cast("asyncio.Server", Accepted(channel, protocol, self._stop)))

    def _stop(self) -> None:
        # Nobody would, if the process that accepts was killed.
        self.should_exit = True


class Process(multiprocess.Process):
    """uvicorn's, with a channel of its own; of the supervisor it gets the acceptor in place of a socket."""

    def __init__(self, config: uvicorn.Config, sockets: list[Acceptor]) -> None:
        ours, self._theirs = socket.socketpair()
        super().__init__(config, [self._theirs])
        sockets[0].add(ours)

    def start(self) -> None:
        """Start it, and leave its end of the channel to it alone."""
        super().start()
        self._theirs.close()

    @property
    def server(self) -> Server:
        """What runs in the process."""
        if self._server is None:
            self._server = Server(self.config)
        return cast("Server", self._server)


multiprocess.Process = Process  # type: ignore[misc,assignment]  # the supervisor makes them, and takes no other class


class Supervisor(multiprocess.Multiprocess):
    """uvicorn's, but all processes get as many connections, and what was under way in one that ended counts no more."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, folder: str) -> None:
        self._acceptor = Acceptor(listener)
        super().__init__(config, sockets=cast("list[socket.socket]", [self._acceptor]))
        self._folder = folder
        self._known: set[int] = set()

    def terminate_all(self) -> None:
        """Stop accepting, then the processes."""
        self._acceptor.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        """Replace what died, and forget it."""
        super().keep_subprocess_alive()
        running = {process.pid for process in self.processes if process.pid}
        for number in self._known - running:
            metrics.forget(number, self._folder)
        self._known = running


def serve_many(settings: Settings, listener: socket.socket) -> None:
    """Serve in several processes, and replace those that die."""
    with metrics.shared() as folder:
        supervisor = Supervisor(_config("app.main:app", settings), listener, folder)
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(BAD_START)

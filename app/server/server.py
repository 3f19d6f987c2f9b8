"""uvicorn's server: for a process that is alone, and for one of several, whose connections come from the acceptor."""

import socket
from collections.abc import Callable
from functools import partial
from math import ceil
from types import FrameType

import uvicorn

from app.config import Settings
from app.errors import MalformedRequest
from app.observability.access import NO_REQUEST
from app.observability.metrics import METRICS
from app.observability.trace import Requests
from app.oip.grpc import GRPC
from app.server.acceptor import Accepted
from app.server.backoff import Backoff
from app.server.connections import Bound
from app.server.garbage import collect_seldom
from app.server.listening import Listening
from app.server.protocol import Protocol

GRACE_S = 5
"""How much longer than the deadline of requests a process that stops waits for its requests."""


def graceful_timeout_s(settings: Settings) -> int:
    """Return how many seconds a process that stops waits for the requests that it has."""
    return ceil(settings.request_timeout_ms / 1000) + GRACE_S


def uvicorn_config(app: object, settings: Settings) -> uvicorn.Config:
    """Return what uvicorn is to do: the log is ours, and so are the headers of answers."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nothing here depends on the client's address, and `Prefix` needs that of the proxy
        server_header=False,
        timeout_graceful_shutdown=graceful_timeout_s(settings),
    )


class Server(uvicorn.Server):
    """uvicorn's server, with a source of connections of its own, and no more of them than there is room for."""

    _source: Listening | Accepted | None = None
    _bound: Bound | None = None

    def __init__(self, config: uvicorn.Config, most: int) -> None:
        """Take what to serve, and the largest number of connections."""
        super().__init__(config)
        self._most = most

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application; take connections once that is done."""
        await super().startup(sockets=[])
        await self._begin()

    async def _begin(self) -> None:
        state = self.lifespan.state
        refused = partial(_count_refused, Requests(state[METRICS]))
        protocol = partial(
            Protocol, self.config, self.server_state, state, Backoff(), changed=self._changed, refused=refused
        )
        self._source = source = await self._open(protocol)
        self._bound = Bound(self._most, source.pause, source.resume, state[METRICS].connections_paused.add)
        self._changed()  # some may have come already, above all those that waited at a socket from systemd

    def _changed(self) -> None:
        """Compare the number of connections with the bound, whenever one has come or gone."""
        if self._bound is not None and not self.should_exit:
            self._bound.open(len(self.server_state.connections))

    async def _open(self, protocol: Callable[[], Protocol]) -> Listening | Accepted:
        """Begin to take connections, each with a protocol."""
        raise NotImplementedError

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections and finish those that there are."""
        if self._source is not None:
            self._source.close()
        if grpc := self.lifespan.state.get(GRPC):
            grpc.drain()
        await super().shutdown(sockets)


def _count_refused(requests: Requests, error: MalformedRequest) -> str:
    """Count what was refused because it is not HTTP, write its line in the log, and return its id."""
    current = requests.begin({}, None)
    current.facts |= {"code": error.code, "detail": error.detail}
    requests.end(current, error.status, method=NO_REQUEST, path=NO_REQUEST, route="other")
    return current.request_id


class ServerAlone(Server):
    """The server of a process that is alone, whose connections come from a socket.

    Told to stop before it has started, it still answers those that have connected, since the socket listens already.
    """

    def __init__(self, config: uvicorn.Config, most: int, listener: socket.socket) -> None:
        super().__init__(config, most)
        self._listener = listener

    async def _open(self, protocol: Callable[[], Protocol]) -> Listening:
        listening = Listening(self._listener, protocol)
        await listening.start()
        return listening

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer those that have connected by now, too."""
        if isinstance(self._source, Listening):
            await self._source.take_last()
        await super().shutdown(sockets)


class ServerOfSeveral(Server):
    """The server of one of several processes, whose connections come over a channel.

    It serves until there will be no more connections on its channel and those that it has are answered. SIGTERM has it
    ask for no more connections.
    """

    def __init__(self, config: uvicorn.Config, most: int, channel: socket.socket) -> None:
        super().__init__(config, most)
        self._channel = channel

    async def _begin(self) -> None:
        if not self.should_exit:  # or it never says that it is ready, and has no connections
            await super()._begin()

    async def _open(self, protocol: Callable[[], Protocol]) -> Accepted:
        collect_seldom()
        self._source = accepted = Accepted(self._channel, protocol, self._stop)
        if self.should_exit:  # told to stop meanwhile, which does not close connections that come in this moment
            self.should_exit = False
            accepted.leave()
        return accepted

    def _stop(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave, instead of stopping at once: connections that are under way on the channel would be lost."""
        if isinstance(self._source, Accepted):
            self._source.leave()
        else:
            super().handle_exit(sig, frame)

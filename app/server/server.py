"""uvicorn's server, and the same for one of several processes, whose connections come from the acceptor."""

import gc
import socket
from functools import partial
from math import ceil
from types import FrameType

import uvicorn

from app.config import Settings
from app.server.acceptor import Accepted
from app.server.protocol import Protocol

GRACE_S = 5
"""How much longer than the deadline of requests a process that stops waits for its requests."""
GENERATION_0_THRESHOLD = 10_000
"""How many more new objects than freed ones start a collection of garbage.

At Python's own threshold of 700 (2,000 from Python 3.13 on) collections take a twentieth of the time of a request.
"""


def collect_garbage_seldom() -> None:
    """Exempt what has been loaded by now from every collection, and collect less often: few objects are in cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GENERATION_0_THRESHOLD)


def graceful_timeout_s(settings: Settings) -> int:
    """Return how many seconds a process that stops waits for the requests that it has."""
    return ceil(settings.request_timeout_ms / 1000) + GRACE_S


def uvicorn_config(app: object, settings: Settings) -> uvicorn.Config:
    """Return what uvicorn is to do: the protocol is ours, and so are the log and the headers of answers."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=Protocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nothing here depends on the client's address, and `Prefix` needs that of the proxy
        server_header=False,
        timeout_graceful_shutdown=graceful_timeout_s(settings),
    )


class Server(uvicorn.Server):
    """uvicorn's server in one of several processes.

    It serves until there will be no more connections on its channel and those that it has are answered. SIGTERM has it
    ask for no more connections.
    """

    def __init__(self, config: uvicorn.Config, channel: socket.socket) -> None:
        super().__init__(config)
        self._channel = channel
        self._accepted: Accepted | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application; take connections once that is done."""
        await super().startup(sockets=[])
        collect_garbage_seldom()
        if not self.should_exit:
            protocol = partial(Protocol, self.config, self.server_state, self.lifespan.state)
            self._accepted = Accepted(self._channel, protocol, self._stop)

    def _stop(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave, instead of stopping at once: connections that are under way on the channel would be lost."""
        if self._accepted is None:
            super().handle_exit(sig, frame)
        else:
            self._accepted.leave()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections and finish those that there are."""
        if self._accepted is not None:
            self._accepted.close()
        await super().shutdown(sockets)

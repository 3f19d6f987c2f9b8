"""Several HTTP processes: each gets as many connections as the others, and one that dies is replaced."""

import asyncio
import gc
import socket
from functools import partial
from typing import cast

import uvicorn
from uvicorn.supervisors import multiprocess

from app.observability import metrics
from app.server.acceptor import Accepted, Acceptor
from app.server.protocol import Protocol

YOUNG = 10_000
"""New objects from which on garbage is looked for: at Python's 700 that is a twentieth of the work of a request."""


def collect_seldom() -> None:
    """Leave out of every collection what has been loaded by now, and collect less often: little here is in cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


class Server(uvicorn.Server):
    """uvicorn's, but its connections come from an acceptor."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections from the channel that is the one socket, once the application is ready."""
        await super().startup(sockets=[])
        collect_seldom()
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

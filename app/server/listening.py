"""Connections for a process that is alone: from the socket that listens."""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from app.server.acceptor import NO_ROOM_S
from app.server.listener import BACKLOG

logger = logging.getLogger(__name__)


class Listening:
    """Takes connections from a socket, except while it is paused; connections then wait in the kernel.

    An event loop cannot be told to wait with a socket that it serves. So it is given a copy of the descriptor, which is
    closed for a pause; the socket itself keeps listening.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Give each connection to the socket a protocol, once `start` is awaited."""
        self._listener = listener
        self._protocol = protocol
        self._paused = False
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, sock=self._listener.dup(), backlog=BACKLOG)
        if self._paused:
            self._server.close()

    def pause(self) -> None:
        """Take no more connections until `resume` is called."""
        self._paused = True
        if self._starting is not None:
            self._starting.cancel()
        if self._server is not None:
            self._server.close()

    def resume(self) -> None:
        """Take connections again, as soon as the system has a descriptor for that."""
        self._paused = False
        self._starting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        while True:
            try:
                await self.start()
            except OSError as exc:
                logger.error("no connections can be taken for now: %s", exc.strerror)
                await asyncio.sleep(NO_ROOM_S)
            else:
                return

    async def take_last(self) -> None:
        """Take what has connected by now, also during a pause, and no more: clients may go on connecting."""
        self.pause()
        self._listener.setblocking(False)
        for connection in list(islice(iter(self._accepted, None), BACKLOG)):
            with suppress(OSError):  # its client has left meanwhile
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _accepted(self) -> socket.socket | None:
        with suppress(OSError):  # there is none, or this process may have no more files
            return self._listener.accept()[0]
        return None

    def close(self) -> None:
        """Take no more connections. Those that wait are refused, unless another process listens on the socket, too."""
        self.pause()
        self._listener.close()

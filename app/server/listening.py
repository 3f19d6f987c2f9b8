"""Connections for a process that is alone: from the socket that listens."""

import asyncio
import socket
from collections.abc import Callable

from app.server.acceptor import BACKLOG


class Listening:
    """Takes connections from a socket, except while it is paused; connections then wait in the kernel.

    An event loop cannot be told to wait with a socket that it serves. So it is given a copy of the descriptor, which is
    closed for a pause; the socket itself goes on to listen.
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
        if self._server is not None:
            self._server.close()

    def resume(self) -> None:
        """Take connections again."""
        self._paused = False
        self._starting = asyncio.get_running_loop().create_task(self.start())

    def close(self) -> None:
        """Take no more connections. Those that wait are refused, unless another process listens on the socket, too."""
        self.pause()
        if self._starting is not None:
            self._starting.cancel()
        self._listener.close()

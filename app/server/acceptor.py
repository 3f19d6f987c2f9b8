"""Connections for several processes: accepted in one, given to each in turn, so that all have as many.

Processes that accept on one socket take what they are awake for: of eight connections one may get all. A connection
travels as a descriptor over the *channel* of its process, which says on it when it is ready.
"""

import asyncio
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

BACKLOG = 2048
READY = b"r"
CONNECTION = b"c"
RETRY_S = 0.001
"""How soon a connection is offered again that no process had room for."""


class Acceptor:
    """Accepts on a bound socket, on a thread of its own, while there is a process that is ready."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._ready: deque[socket.socket] = deque()
        self._held: socket.socket | None = None  # that nobody has taken yet
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, self._stop)
        self._running = True
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)
        self._thread.start()

    def add(self, channel: socket.socket) -> None:
        """Give connections to a process too, as soon as it is ready and until it closes its end."""
        channel.setblocking(False)
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._hear(channel))

    def close(self) -> None:
        """Accept no more than what has connected by now; called again, do nothing."""
        if not self._running:
            return
        self._wake.close()
        self._thread.join()
        while self._ready and self._held is None and self._accept():
            self._give()
        if self._held:
            self._held.close()
        for key in list(self._selector.get_map().values()):
            cast("socket.socket", key.fileobj).close()
        self._selector.close()
        self._listener.close()

    def _run(self) -> None:
        while self._running:
            for key, _ in self._selector.select(RETRY_S if self._held else None):
                key.data()
            self._give()
            self._listen(bool(self._ready) and not self._held)

    def _stop(self) -> None:
        self._running = False

    def _hear(self, channel: socket.socket) -> None:
        said = b""
        with suppress(OSError):
            said = channel.recv(1)
        if said == READY:
            self._ready.append(channel)
            return
        self._selector.unregister(channel)
        with suppress(ValueError):
            self._ready.remove(channel)
        channel.close()

    def _listen(self, wanted: bool) -> None:
        if wanted == (self._listener.fileno() in self._selector.get_map()):
            return
        if wanted:
            self._listener.listen(BACKLOG)
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        else:
            self._selector.unregister(self._listener)

    def _accept(self) -> bool:
        try:
            self._held, _ = self._listener.accept()
        except OSError:  # there is none, or its client has left meanwhile
            return False
        return True

    def _give(self) -> None:
        for channel in self._ready.copy():
            if self._held is None:
                return
            self._ready.rotate(-1)
            if _sent(channel, self._held):
                self._held.close()
                self._held = None


def _sent(channel: socket.socket, connection: socket.socket) -> bool:
    try:
        socket.send_fds(channel, [CONNECTION], [connection.fileno()])
    except OSError:  # it does not keep up, hangs, or has just died
        return False
    return True


class Accepted:
    """The other end of a channel, in place of a server that listens."""

    def __init__(
        self,
        channel: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Be ready: each connection that comes gets a protocol; `at_end` is called when the acceptor is no more."""
        self._channel = channel
        self._protocol = protocol
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        channel.setblocking(False)
        self._loop.add_reader(channel, self._take)
        with suppress(OSError):  # the acceptor is no more, which the reader is told too
            channel.send(READY)

    def _take(self) -> None:
        said, descriptors = b"", list[int]()
        try:
            said, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        except BlockingIOError:
            return
        except OSError:  # an acceptor that was killed before it heard us resets the channel
            pass
        for descriptor in descriptors:  # none, if this process may have no more of them
            connecting = self._loop.create_task(self._connect(socket.socket(fileno=descriptor)))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)
        if not said:
            self.close()
            self._at_end()

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # its client has left meanwhile
            connection.close()

    def close(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._channel)

    async def wait_closed(self) -> None:
        """Nothing is waited for: the connections are uvicorn's."""

"""Connections for several processes: accepted by one and given to the others in turn, so that each has as many.

If all processes accepted on one socket, a connection would go to whichever is awake: of eight connections one process
may get all. Here a connection travels, as a file descriptor, over a socket pair between the acceptor and a process, the
*channel* of the process. On it the process says once a second that it is well, and whether it has room for more. Either
end closes the channel to say that the process is to have no more connections; the process then answers those that it
has, and ends.
"""

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from app.errors import StartError
from app.server.listener import BACKLOG, listen

logger = logging.getLogger(__name__)

WELL = b"w"
FULL = b"f"
"""Said by a process that is well and takes no more connections for now."""
CONNECTION = b"c"
RETRY_S = 0.001
"""How soon a connection that no process had room for is offered again."""
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
NO_ROOM_S = 1.0
"""How soon it is tried again to take connections, if the system had no room for one."""
LAST_S = 1.0
"""How long the processes have to make room for the last connections, when there will be no more."""
WELL_S = 1.0
"""How often a process says that it is well."""
LINGER_S = 0.5
"""How long a process that gets no more connections waits for the first bytes of those that came last."""


class Acceptor:
    """Accepts on a bound socket, in the running event loop.

    It listens once a process is ready; until then connections are refused. When there is no process any more,
    connections wait in the kernel until there is one again.
    """

    def __init__(self, listener: socket.socket, failed: Callable[[StartError], None]) -> None:
        """Take the socket, and what is called if it cannot listen, because another service does on the same port."""
        self._listener = listener
        self._failed = failed
        self._listener.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._channels: set[socket.socket] = set()
        self._ready: deque[socket.socket] = deque()
        self._full: set[socket.socket] = set()
        self._held: socket.socket | None = None  # a connection that no process has had room for yet
        self._retry: asyncio.TimerHandle | None = None
        self._accepting = False
        self._closing = False

    def add(self, channel: socket.socket, well: Callable[[], None] = lambda: None) -> None:
        """Give connections to a process, from when it first says that it is well until the channel is closed.

        `well` is called whenever the process says so.
        """
        channel.setblocking(False)
        self._channels.add(channel)
        self._loop.add_reader(channel, self._hear, channel, well)

    def pass_over(self, channel: socket.socket) -> None:
        """Give no connections to a process until it says something, if another is in turn now.

        If that one is full or ends meanwhile, connections wait.
        """
        if channel in self._ready and len(self._ready) > 1:
            self._ready.remove(channel)

    def remove(self, channel: socket.socket) -> None:
        """Give no more connections to a process, if it got any."""
        if channel in self._channels:
            self._channels.remove(channel)
            self._loop.remove_reader(channel)
            self._full.discard(channel)
            if channel in self._ready:
                self._ready.remove(channel)
            channel.close()
            self._give()

    async def close(self) -> None:
        """Give away what has connected by now and accept no more, then close all channels.

        Processes without room get some, too: what an acceptor that has gone gave them last they take anyway.
        """
        self._closing = True
        self._accept_if(False)
        self._ready.extend(self._full)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self._give_last()
        self._ready.clear()
        if self._held:
            self._held.close()
            self._held = None
        for channel in self._channels.copy():
            self.remove(channel)
        self._listener.close()

    async def _give_last(self) -> None:
        for _ in range(BACKLOG):  # and no more of them, since clients may go on connecting
            if not self._ready or not (self._held or self._accept()):
                return
            while self._held and self._ready:
                await asyncio.sleep(RETRY_S)
                self._give()

    def _hear(self, channel: socket.socket, well: Callable[[], None]) -> None:
        said = b""
        with suppress(OSError):  # the process was killed
            said = channel.recv(1024)
        if not said:
            self.remove(channel)
            return
        well()
        if self._closing:
            return
        full = said.endswith(FULL)
        (self._full.add if full else self._full.discard)(channel)
        if full == (channel in self._ready):
            (self._ready.remove if full else self._ready.append)(channel)
            self._give()

    def _accept(self) -> bool:
        """Accept a connection and give it away. Return whether there was one."""
        try:
            self._held, _ = self._listener.accept()
        except OSError as exc:
            if exc.errno not in NO_ROOM:  # there is none, or it is one that has failed already
                return False
            logger.error("no connections can be taken for now: %s", exc.strerror)
            self._accept_if(False)  # or the socket would say so without end
            self._retry = self._loop.call_later(NO_ROOM_S, self._give)
            return False
        self._give()
        return True

    def _give(self) -> None:
        """Give the connection that is held, if any, to the next process with room; accept again once it is given."""
        for channel in self._ready.copy():
            if self._held is None:
                break
            self._ready.rotate(-1)
            if _sent(channel, self._held):
                self._held.close()
                self._held = None
        if self._retry:
            self._retry.cancel()
        self._retry = self._loop.call_later(RETRY_S, self._give) if self._held and self._ready else None
        self._accept_if(bool(self._ready) and not self._held and not self._closing)

    def _accept_if(self, wanted: bool) -> None:
        if wanted == self._accepting:
            return
        if wanted:
            try:
                listen(self._listener)
            except StartError as exc:
                self._failed(exc)
                return
            self._loop.add_reader(self._listener, self._accept)
        else:
            self._loop.remove_reader(self._listener)
        self._accepting = wanted


def _sent(channel: socket.socket, connection: socket.socket) -> bool:
    try:
        socket.send_fds(channel, [CONNECTION], [connection.fileno()])
    except OSError:  # the process does not keep up, hangs, or has just died
        return False
    return True


class Accepted:
    """The other end of a channel: what a process has in place of a socket that listens."""

    def __init__(
        self,
        channel: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Say that this process is ready. Each connection that comes then gets a protocol.

        `at_end` is called when no more connections will come, because the acceptor or this process closed the channel
        or the acceptor was killed.
        """
        self._channel = channel
        self._protocol = protocol
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        channel.setblocking(False)
        self._loop.add_reader(channel, self._take)
        self._say_well()

    def _say_well(self) -> None:
        self._say(FULL if self._paused else WELL)
        self._timer = self._loop.call_later(WELL_S, self._say_well)

    def _say(self, what: bytes) -> None:
        try:
            self._channel.send(what)
        except BlockingIOError:  # an acceptor that hangs has heard it often enough
            pass
        except OSError:  # there is no acceptor any more; what it gave last is taken, even if there is no room
            self._loop.add_reader(self._channel, self._take)

    def pause(self) -> None:
        """Take no more connections until `resume` is called; those that are under way wait on the channel."""
        self._paused = True
        self._loop.remove_reader(self._channel)
        self._say(FULL)

    def resume(self) -> None:
        """Take connections again."""
        self._paused = False
        self._loop.add_reader(self._channel, self._take)
        self._say(WELL)

    def _take(self) -> None:
        said, descriptors = b"", list[int]()
        try:
            said, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        except BlockingIOError:
            return
        except OSError:  # an acceptor that was killed before it heard this process resets the channel
            pass
        for descriptor in descriptors:  # none, if this process may have no more of them
            connecting = self._loop.create_task(self._connect(socket.socket(fileno=descriptor)))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)
        if not said:
            self.close()
            self._loop.call_later(LINGER_S, self._at_end)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # its client has left meanwhile
            connection.close()

    def leave(self) -> None:
        """Ask the acceptor for no more connections; those that are under way still come."""
        with suppress(OSError):  # there is no acceptor any more
            self._channel.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Take no more connections. Those that are under way would be lost: `leave` first."""
        self._loop.remove_reader(self._channel)
        if self._timer:
            self._timer.cancel()

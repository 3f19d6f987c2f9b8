"""The HTTP process's end of a worker."""

import asyncio
import logging
import socket
from collections.abc import Sequence

from app.runtime import requests
from app.runtime.area import Area, Buffer
from app.runtime.faults import BadReply, WorkerDied, WorkerHung
from app.runtime.replies import Body, Reader
from app.runtime.watchdog import TICKS

logger = logging.getLogger(__name__)

READ_BYTES = 256 * 1024


class Connection:
    """The HTTP process's end of a worker: the area that requests are written into, and a socket, which also says when.

    It is asked one request at a time. The socket is written to and read from without a transport of asyncio, which
    would send what it is given only when the loop has done all else.
    """

    _tick: asyncio.TimerHandle

    def __init__(self, connection: socket.socket, area: Area) -> None:
        """Take over this end of the socket, and the area."""
        connection.setblocking(False)
        self._socket, self._area = connection, area
        self._loop = asyncio.get_running_loop()
        self._reader: Reader | None = None
        self._reply: asyncio.Future[Body] | None = None
        self.alive = True
        """Whether the worker has not ended, as far as is known here."""
        self._loop.add_reader(connection, self._readable)

    async def ask(self, request: Sequence[Buffer], reader: Reader, patience_s: float) -> Body:
        """Send a request and return its reply. Raises `WorkerDied`, or `WorkerHung` after `patience_s` without one."""
        self._reader = reader
        self._reply = self._loop.create_future()
        try:
            size = self._area.write(request)
            self._socket.send(requests.SIZE.pack(size))
        except OSError as exc:
            self.close()
            raise WorkerDied(f"a worker could not be asked: {exc}") from exc
        self._wait(patience_s, TICKS)
        try:
            return await self._reply
        finally:
            self._tick.cancel()
            self._reader = self._reply = None  # an idle worker keeps no images
            if self.alive:
                self._area.give_back()

    def _wait(self, patience_s: float, ticks: int) -> None:
        """Wait for so many ticks. They are counted, so that time in which all stand still is one tick at most."""
        if ticks:
            self._tick = self._loop.call_later(patience_s / TICKS, self._wait, patience_s, ticks - 1)
        else:
            self._fail(WorkerHung(f"a worker has hung for {patience_s:g} s and is replaced"))

    def _fail(self, error: WorkerDied) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)

    def _readable(self) -> None:
        """Read a part of the reply, and end the wait of `ask` when it is whole, or bad, or will not come."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._fail(WorkerDied("a worker ended in the middle of its work"))
        elif self._reader is None or self._reply is None or self._reply.done():
            self.close()
            logger.error("a worker said something that it was not asked for, and is given up")
        else:
            self._read(self._reader, self._reply, data)

    def _read(self, reader: Reader, reply: "asyncio.Future[Body]", data: bytes) -> None:
        try:
            body = reader.add(data)
        except BadReply as exc:
            self.close()
            reply.set_exception(exc)
        else:
            if body is not None:
                reply.set_result(body)

    def close(self) -> None:
        """Close the socket, so that the worker ends."""
        if self.alive:
            self.alive = False
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._area.close()

"""Small applications that the protocol serves over real connections, and a client that sends whatever it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from uvicorn.server import ServerState

from app.config import Settings
from app.errors import ServiceError
from app.server.backoff import Backoff
from app.server.protocol import Protocol
from app.server.server import uvicorn_config

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"


class Client:
    """One connection; `served` is the set of the server's ends of all its connections, if it is known."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, served: set[Any] | None = None
    ) -> None:
        self._reader, self._writer = reader, writer
        self.served = set() if served is None else served
        self.port = int(writer.get_extra_info("peername")[1])

    def send(self, data: bytes) -> None:
        """Send it."""
        self._writer.write(data)

    @property
    def unsent_bytes(self) -> int:
        """How much of what was sent does not fit into what the system keeps, because the server does not read it."""
        return self._writer.transport.get_write_buffer_size()

    def end_sending(self) -> None:
        """Send no more, and go on to read."""
        self._writer.write_eof()

    def leave(self) -> None:
        """Close the connection."""
        self._writer.close()

    def abort(self) -> None:
        """Close the connection, and do not send what was not sent yet."""
        self._writer.transport.abort()

    async def head(self) -> bytes:
        """Return the first line of a response that has come, after all of its headers."""
        async with asyncio.timeout(5):
            return (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]

    async def body(self) -> bytes:
        """Return the five bytes that the applications answer with."""
        async with asyncio.timeout(5):
            return await self._reader.readexactly(5)

    async def exactly(self, count: int) -> bytes:
        """Return so many bytes that have come."""
        async with asyncio.timeout(5):
            return await self._reader.readexactly(count)

    async def end(self) -> bytes:
        """Return what still comes until the connection is closed."""
        async with asyncio.timeout(5):
            return await self._reader.read()


@asynccontextmanager
async def connected(app: Any, idle_s: int = 5, reads: bool = True) -> AsyncIterator[Client]:
    """Serve an application, and connect to it. Between two requests the connection may be idle for `idle_s`.

    Unless the client `reads`, it takes no more than what the system keeps for it.
    """
    config = uvicorn_config(answering_errors(app), Settings())
    config.timeout_keep_alive = idle_s
    config.load()
    state = ServerState()
    backoff = Backoff()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(config, state, {}, backoff), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    if not reads:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        yield Client(reader, writer, state.connections)
    finally:
        writer.close()
        with suppress(ConnectionResetError):  # the server has cut it off
            await writer.wait_closed()
        server.close()
        await asyncio.gather(*state.tasks)
        async with asyncio.timeout(10):
            while state.connections:  # they hear of the end, each in its turn
                await asyncio.sleep(0.001)


def answering_errors(app: Any) -> Any:
    """Return an application that answers the service's own errors, as the service does."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except ServiceError as exc:
            await answer(send, exc.status, f"{exc.code}: {exc.detail}".encode())

    return application


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body of the request, once it is whole."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await answer(send, 200, body)


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer without the body of the request."""
    await answer(send, 429, b"later")


async def answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

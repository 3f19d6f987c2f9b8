"""How many connections a server has, and what they share."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from app.config import Settings
from app.observability.metrics import METRICS
from app.server import server
from app.server.backoff import Backoff
from app.server.listening import Listening
from app.server.protocol import Protocol
from app.server.server import ServerAlone, uvicorn_config


class App:
    """An application that does nothing but start and stop, and counts how often there was no room for connections."""

    def __init__(self) -> None:
        self.paused = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["state"][METRICS] = SimpleNamespace(connections_paused=SimpleNamespace(add=self._count))
        for what in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{what}.complete"})

    def _count(self) -> None:
        self.paused += 1


class BusyServer(ServerAlone):
    """A server that goes on only when so many connections have come, while it does not know its bound yet."""

    waiting = 0

    async def _open(self, protocol: Callable[[], Protocol]) -> Listening:
        listening = await super()._open(protocol)
        async with asyncio.timeout(5):
            while len(self.server_state.connections) < self.waiting:
                await asyncio.sleep(0.01)
        return listening


@asynccontextmanager
async def busy(app: App, most: int, waiting: int) -> AsyncIterator[None]:
    """Run a server with room for so many connections, and as many connections as were waiting for it."""
    config = uvicorn_config(app, Settings())
    config.load()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        running = BusyServer(config, most, listener)
        running.lifespan, running.waiting = config.lifespan_class(config), waiting
        clients = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(waiting)]
        await running.startup()
        yield
        for client in clients:
            client.close()
        async with asyncio.timeout(5):
            await running.shutdown()


@pytest.mark.parametrize(("waiting", "paused"), [(1, 0), (2, 1)])
async def test_connections_that_came_before_the_server_was_ready_count_towards_its_bound(
    waiting: int, paused: int
) -> None:
    app = App()
    async with busy(app, 2, waiting):
        assert app.paused == paused


async def test_all_connections_of_a_server_rest_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mock(wraps=Backoff)
    monkeypatch.setattr(server, "Backoff", made)
    async with busy(App(), 8, 2):
        assert made.call_count == 1

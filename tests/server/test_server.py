"""How many connections a server has, what they share, and what is known of those that send no HTTP."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest

from app.config import Settings
from app.observability import access
from app.observability.metrics import METRICS, Metrics
from app.server import server
from app.server.backoff import Backoff
from app.server.listening import Listening
from app.server.protocol import Protocol
from app.server.server import ServerAlone, uvicorn_config
from tests.support.client import parsed


class App:
    """An application that answers everything alike, and has metrics."""

    def __init__(self) -> None:
        self._metrics = Metrics()

    def counted(self, *name: str) -> float:
        """Return a sample of the metrics, by its name and the values of its labels."""
        return parsed(self._metrics.render().decode()).get(name, 0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            return
        scope["state"][METRICS] = self._metrics
        for what in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{what}.complete"})


class BusyServer(ServerAlone):
    """A server that goes on only when so many connections have come, while it does not know its bound yet."""

    waiting = 0
    clients: list[socket.socket]
    """The other ends of these connections."""

    @property
    def address(self) -> Any:
        """Where it listens."""
        return self._listener.getsockname()

    async def _open(self, protocol: Callable[[], Protocol]) -> Listening:
        listening = await super()._open(protocol)
        async with asyncio.timeout(5):
            while len(self.server_state.connections) < self.waiting:
                await asyncio.sleep(0.01)
        return listening


@asynccontextmanager
async def busy(app: App, most: int, waiting: int) -> AsyncIterator[BusyServer]:
    """Run a server with room for so many connections, for which so many were waiting. It may be told to stop before."""
    config = uvicorn_config(app, Settings())
    config.load()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        running = BusyServer(config, most, listener)
        running.lifespan, running.waiting = config.lifespan_class(config), waiting
        running.clients = [stack.enter_context(socket.create_connection(running.address)) for _ in range(waiting)]
        await running.startup()
        yield running
        for client in running.clients:
            client.close()
        if not running.should_exit:
            async with asyncio.timeout(5):
                await running.shutdown()


async def test_who_has_connected_to_a_full_server_is_answered_even_if_it_stops() -> None:
    async with busy(App(), 2, 2) as running:
        with socket.create_connection(running.address) as late:
            late.settimeout(10)
            late.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            running.should_exit = True
            stopping = asyncio.create_task(running.shutdown())
            assert (await asyncio.to_thread(late.recv, 1000)).startswith(b"HTTP/1.1 204 ")
        await stopping


async def test_a_full_server_that_stops_does_not_take_connections_again_when_some_have_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with busy(App(), 2, 2) as running:
        running.should_exit = True
        await running.shutdown()
        await asyncio.sleep(0)
        assert isinstance(running._source, Listening)
        assert running._source._starting is None
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(("waiting", "paused"), [(1, 0), (2, 1)])
async def test_connections_that_came_before_the_server_was_ready_count_towards_its_bound(
    waiting: int, paused: int
) -> None:
    app = App()
    async with busy(app, 2, waiting):
        assert app.counted("mobilenet_connections_paused_total") == paused


async def test_all_connections_of_a_server_rest_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mock(wraps=Backoff)
    monkeypatch.setattr(server, "Backoff", made)
    async with busy(App(), 8, 2):
        assert made.call_count == 1


async def test_what_is_no_http_is_counted_and_has_a_line_but_not_in_a_flood(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "SECOND", 60)
    app, count = App(), access.LINES_A_SECOND + 2
    with caplog.at_level("INFO", logger="app.access"):
        async with busy(app, 2 * count, count) as running:
            for client in running.clients:
                client.settimeout(10)
                client.sendall(b"nonsense\r\n\r\n")
            answers = [await asyncio.to_thread(client.recv, 10_000) for client in running.clients]
    assert app.counted("mobilenet_requests_total", "other", "400") == count
    assert app.counted("mobilenet_requests_in_flight") == 0
    ids = {json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"] for answer in answers}
    assert len(ids) == count
    lines = [record.facts for record in caplog.records]  # type: ignore[attr-defined]
    assert len(lines) == access.LINES_A_SECOND
    assert all(line["request_id"] in ids for line in lines)
    assert {(line["status"], line["code"], line["detail"]) for line in lines} == {
        (400, "malformed_request", "this is not valid HTTP: Invalid method encountered")
    }

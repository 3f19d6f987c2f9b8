"""A service says that it serves once it listens, and not before, and from then on it ends in order when told to."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NoReturn

import pytest

from app.config import Settings
from app.errors import StartError
from app.observability.metrics import METRICS, Metrics
from app.server import serve
from app.server.listener import listener


def test_a_service_that_is_alone_says_that_it_serves_once_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(serve, "collect_seldom", lambda: None)
    monkeypatch.setattr("app.server.serve.ServerAlone.run", lambda _: None)
    said: list[int] = []
    with listener("127.0.0.1", 0) as first, listener(*first.getsockname()) as second:

        def say() -> None:
            said.append(first.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

        serve.serve_alone(None, Settings(), first, say)
        assert said == [1]
        with pytest.raises(StartError, match="cannot listen there"):
            serve.serve_alone(None, Settings(), second, say)
    assert said == [1]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Start and stop, and answer every request with 204."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        return
    scope["state"][METRICS] = Metrics()
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})


def end(*_: object) -> NoReturn:
    """Stand for what a signal does before the service says that it serves."""
    raise SystemExit(1)


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT])
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that ends this process, until the service heeds it."""
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(one, end) for one in signals]
    yield request.param
    for one, handler in zip(signals, before, strict=True):
        signal.signal(one, handler)


def test_told_to_stop_as_soon_as_it_says_that_it_serves_it_answers_who_has_connected_and_ends_without_an_error(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "collect_seldom", lambda: None)
    with ExitStack() as stack, listener("127.0.0.1", 0) as bound:
        clients: list[socket.socket] = []

        def connect_and_stop() -> None:
            clients.append(stack.enter_context(socket.create_connection(bound.getsockname())))
            clients[0].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            signal.raise_signal(number)

        serve.serve_alone(app, Settings(), bound, connect_and_stop)
        clients[0].settimeout(10)
        assert clients[0].recv(10_000).startswith(b"HTTP/1.1 204 ")

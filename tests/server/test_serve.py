"""A service says that it serves once it listens, and not before."""

import signal
import socket

import pytest

from app.config import Settings
from app.errors import StartError
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

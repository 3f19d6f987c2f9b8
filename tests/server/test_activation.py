"""A process that is started with a socket takes connections on it, and tells no other process of it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import StartError
from app.server import activation
from app.server.listener import listener


@pytest.fixture
def listens() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def start_with(
    monkeypatch: pytest.MonkeyPatch, given: socket.socket, number: str = "1", pid: int | None = None
) -> None:
    """Have this process look as if it was started with a socket."""
    descriptor = os.dup(given.fileno())
    os.set_inheritable(descriptor, True)
    monkeypatch.setattr(activation, "FIRST_DESCRIPTOR", descriptor)
    variables = {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": number, "LISTEN_FDNAMES": "http"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_socket_is_served_on_instead_of_the_settings_and_the_variables_are_gone(
    monkeypatch: pytest.MonkeyPatch, listens: socket.socket, tmp_path: Path
) -> None:
    start_with(monkeypatch, listens)
    with listener(f"unix:{tmp_path}/socket", 8000) as found:
        assert found.getsockname() == listens.getsockname()
        assert not os.get_inheritable(found.fileno())
        assert not [name for name in os.environ if name.startswith("LISTEN_")]
    assert not list(tmp_path.iterdir())


def test_the_path_of_a_socket_that_was_given_is_not_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as owned:
        owned.bind(str(path))
        owned.listen()
        start_with(monkeypatch, owned)
        with listener("127.0.0.1", 0) as found:
            assert found.getsockname() == str(path)
        assert path.exists()


@pytest.mark.parametrize(("number", "pid"), [("1", 1), ("0", None), ("", None)])
def test_what_was_meant_for_another_process_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, listens: socket.socket, number: str, pid: int | None
) -> None:
    start_with(monkeypatch, listens, number, pid)
    assert activation.given() is None
    assert not [name for name in os.environ if name.startswith("LISTEN_")]


def test_several_sockets_are_refused_in_a_line(monkeypatch: pytest.MonkeyPatch, listens: socket.socket) -> None:
    start_with(monkeypatch, listens, "2")
    with pytest.raises(StartError, match="LISTEN_FDS=2: the service can be started with one socket, not with more"):
        activation.given()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, None], ids=["bound", "datagram", "closed"])
def test_what_does_not_listen_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, listens: socket.socket, kind: int | None
) -> None:
    with socket.socket(socket.AF_INET, kind or socket.SOCK_STREAM) as silent:
        silent.bind(("127.0.0.1", 0))
        start_with(monkeypatch, silent)
        if kind is None:
            os.close(activation.FIRST_DESCRIPTOR)
        with pytest.raises(StartError, match="is not a stream socket that listens"):
            activation.given()

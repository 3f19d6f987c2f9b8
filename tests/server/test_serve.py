"""The socket that a service listens on."""

import socket

import pytest

from app.errors import StartError
from app.server.serve import bind


def test_a_service_that_is_started_again_has_its_port_though_old_connections_linger() -> None:
    listener = bind("127.0.0.1", 0)
    address, port = listener.getsockname()
    with listener:
        listener.listen()
        with socket.create_connection((address, port)) as client:
            connection, _ = listener.accept()
            connection.close()  # whoever closes first keeps the address for a minute
            assert client.recv(1) == b""
    bind(address, port).close()


def test_a_port_that_another_listens_on_is_an_error_that_names_the_settings() -> None:
    with bind("127.0.0.1", 0) as other:
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=f"MOBILENET_HOST=127.0.0.1 MOBILENET_PORT={port}: cannot listen there"):
            bind("127.0.0.1", port)

"""The service listens where it is told to, takes no place from another, and says why where it cannot."""

import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.errors import StartError
from app.server.listener import address, listen, listener


def test_a_unix_socket_is_at_its_path_until_the_end_and_refuses_connections_until_it_listens(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listener(f"unix:{path}", 8000) as bound:
        assert address(bound) == f"unix:{path}"
        assert stat.S_ISSOCK(path.stat().st_mode)
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(path))
    assert not path.exists()


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    with listener(f"unix:{path}", 8000) as bound, socket.socket(socket.AF_UNIX) as client:
        bound.listen()
        client.connect(str(path))
    assert not path.exists()


@pytest.mark.parametrize("listens", [True, False], ids=["serving", "starting"])
def test_a_socket_that_somebody_has_is_left_alone(tmp_path: Path, listens: bool) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        if listens:
            other.listen()
            other.setblocking(False)
        says = f"MOBILENET_HOST=unix:{path}: cannot listen there: Address already in use"
        with pytest.raises(StartError, match=says), listener(f"unix:{path}", 8000):
            pass
        assert path.exists()
        if listens:
            with pytest.raises(BlockingIOError):
                other.accept()  # nobody was connected to it


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(StartError, match="Address already in use"), listener(f"unix:{path}", 8000):
        pass
    assert path.read_text() == "precious"


def test_the_socket_of_a_service_that_has_taken_the_place_of_a_stopping_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ExitStack() as later:
        with listener(f"unix:{path}", 8000) as stopping:
            stopping.close()
            later.enter_context(listener(f"unix:{path}", 8000))
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere/socket", "No such file or directory"),
        ("x" * 200, "AF_UNIX path too long"),
        ("", "Address already in use"),
    ],
    ids=["no folder", "too long", "a folder"],
)
def test_a_path_that_cannot_be_made_is_one_line(tmp_path: Path, path: str, why: str) -> None:
    where = f"unix:{tmp_path / path}"
    says = f"MOBILENET_HOST={where}: cannot listen there: {why}"
    with pytest.raises(StartError, match=says) as caught, listener(where, 8000):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_the_line_that_says_where_it_serves_has_a_url_that_can_be_asked(host: str, url: str) -> None:
    with listener(host, 0) as bound:
        assert address(bound) == f"{url}{bound.getsockname()[1]}"


def test_a_unix_socket_without_a_file_is_written_with_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"\0mobilenet-{os.getpid()}")
        assert address(bound) == f"unix:@mobilenet-{os.getpid()}"


def test_a_service_that_is_started_again_has_its_port_though_old_connections_linger() -> None:
    with listener("127.0.0.1", 0) as bound:
        bound.listen()
        host, port = bound.getsockname()
        with socket.create_connection((host, port)) as client:
            connection, _ = bound.accept()
            connection.close()  # whoever closes first keeps the address for a minute
            assert client.recv(1) == b""
    with listener(host, port) as again:
        assert again.getsockname() == (host, port)


def test_a_port_that_another_listens_on_is_an_error_that_names_the_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        says = f"MOBILENET_HOST=127.0.0.1 MOBILENET_PORT={port}: cannot listen there"
        with pytest.raises(StartError, match=says), listener("127.0.0.1", port):
            pass


def test_of_two_services_that_have_bound_a_port_the_second_to_listen_says_so() -> None:
    with listener("127.0.0.1", 0) as first:
        host, port = first.getsockname()
        with listener(host, port) as second:
            listen(first)
            says = f"^http://127.0.0.1:{port}: cannot listen there: Address already in use$"
            with pytest.raises(StartError, match=says):
                listen(second)
